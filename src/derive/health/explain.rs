//! A score as text for people: every signal, what it was counted from and what it brings.

use std::fmt::Write as _;

use super::{Health, NotScored, Places};

/// The text of `health explain`. Ends in a line break.
pub fn explain_health(health: &Health) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(health, &mut text);
    text
}

fn write(health: &Health, out: &mut String) -> std::fmt::Result {
    match (health.score, &health.not_scored) {
        (Some(score), _) => writeln!(out, "Health {score}, {}", health.tier.as_str())?,
        (None, Some(NotScored::Ineligible)) => {
            writeln!(out, "Not scored: the subscription status is not one of those that are scored (H7)")?;
        }
        (None, _) => writeln!(out, "Not scored: no signal that weighs anything has data (O6)")?,
    }
    for line in &health.signals {
        let name = line.signal.as_str();
        match (&line.value, &line.points) {
            (Some(value), Some(points)) => writeln!(
                out,
                "  {name:<10} {:>6} x weight {} = {} points  [{}]",
                Places(value).to_string(),
                Places(&line.weight),
                Places(points),
                line.rule
            )?,
            (Some(value), None) => {
                writeln!(out, "  {name:<10} {:>6}  [{}]", Places(value).to_string(), line.rule)?;
            }
            (None, _) => writeln!(
                out,
                "  {name:<10} no data: its weight {} is shared out  [{}]",
                Places(&line.weight),
                line.rule
            )?,
        }
        for input in &line.inputs {
            writeln!(out, "    {input}")?;
        }
    }
    if let Some(day) = health.next_turn {
        writeln!(out, "Without new activity it is another on {day}.")?;
    }
    Ok(())
}
