//! Two texts side by side, by lines.

/// The lines of both texts in order: `  ` in both, `- ` only in `old`, `+ ` only in `new`. By the longest
/// common subsequence; for texts of a prompt's size.
pub(super) fn lines(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    // common[i][j]: length of the longest common subsequence of old[i..] and new[j..].
    let mut common = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push(format!("  {}", old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            out.push(format!("- {}", old[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn tells_what_went_and_what_came() {
        let found = super::lines("a\nPlan: Starter\nc", "a\nPlan: Team\nc\nd");
        assert_eq!(found, ["  a", "- Plan: Starter", "+ Plan: Team", "  c", "+ d"]);
        assert!(super::lines("", "").is_empty());
    }
}
