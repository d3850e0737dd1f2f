//! A figure, the goal, their ratio, and the machine's load when it was measured.

/// Which side of the goal is the good one.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Shown for comparison.
    None,
}

/// The load average of the last minute.
pub fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or("?").to_owned()
}

pub fn head(title: &str) {
    println!(
        "\n{title}\n{:<56} {:>14} {:>12} {:>8}  {:<7} {:>6}",
        "", "measured", "goal", "ratio", "", "load"
    );
}

pub fn row(what: &str, value: f64, unit: &str, goal: Goal) {
    row_under(&load(), what, value, unit, goal);
}

/// A figure that was measured under another load than the present one.
pub fn row_under(load: &str, what: &str, value: f64, unit: &str, goal: Goal) {
    let shown = format!("{} {unit}", number(value));
    let (sign, limit, met) = match goal {
        Goal::AtLeast(limit) => (">=", limit, value >= limit),
        Goal::AtMost(limit) => ("<=", limit, value <= limit),
        Goal::None => {
            println!("{what:<56} {shown:>14} {:>12} {:>8}  {:<7} {load:>6}", "", "", "");
            return;
        }
    };
    let ratio = if limit == 0.0 { String::new() } else { format!("{:.2}", value / limit) };
    println!(
        "{what:<56} {shown:>14} {:>12} {ratio:>8}  {:<7} {load:>6}",
        format!("{sign} {}", number(limit)),
        if met { "met" } else { "MISSED" },
    );
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The value below which that share of the sorted values lies.
pub fn at(sorted: &[f64], share: f64) -> f64 {
    sorted.get((sorted.len().saturating_sub(1) as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
