//! Tables as kubectl prints them: columns as wide as their widest cell, three spaces between them.

/// No cell is narrower, the space after it included (`GetNewTabWriter` of k8s.io/cli-runtime).
const WIDTH_MIN: usize = 6;
/// The space after each cell but the last.
const PADDING: usize = 3;

/// What stands in a cell that has nothing to say.
pub const NONE: &str = "<none>";

/// A table with its header. No line ends with spaces.
#[must_use]
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        let widest = cells.max().unwrap_or(0).max(header[column].len());
        (widest + PADDING).max(WIDTH_MIN)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: [&str; N]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().concat().trim_end())
    };
    let mut text = line(header);
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
    }
    text
}

/// Lines of a name and what it is, the values below each other, as `kubectl describe` prints them.
#[must_use]
pub fn facts(lines: &[(&str, String)]) -> String {
    let names = lines.iter().map(|(name, _)| name.len());
    let width = names.max().unwrap_or(0) + 1 + PADDING;
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{:width$}{value}\n", format!("{name}:")));
    lines.collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_three_spaces_apart() {
        let rows = [["a-long-name".into(), "1".into(), "x".into()]];
        let text = table(["NAME", "N", "AGE"], &rows);
        assert_eq!(text, "NAME          N     AGE\na-long-name   1     x\n");
        let text = table(["NAME", "AGE"], &[]);
        assert_eq!(text, "NAME   AGE\n");
    }

    #[test]
    fn facts_stand_below_each_other() {
        let text = facts(&[("Node", "n".into()), ("Deadline", "soon".into())]);
        assert_eq!(text, "Node:       n\nDeadline:   soon\n");
    }
}
