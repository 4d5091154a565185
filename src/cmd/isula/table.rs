//! Aligned columns. Widths count characters, not bytes.

fn width(text: &str) -> usize {
    text.chars().count()
}

fn pad(out: &mut String, text: &str, to: usize) {
    out.push_str(text);
    out.extend(std::iter::repeat_n(' ', to.saturating_sub(width(text))));
}

/// Columns as wide as their widest cell, a tab between them: the table of `ps`.
pub fn tabbed(head: &[&str], rows: &[Vec<String>]) -> String {
    let widest = |i: usize| rows.iter().map(|row| width(&row[i])).max().map_or(0, |w| w.max(width(head[i])));
    let widths: Vec<usize> = (0..head.len()).map(widest).collect();
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (i, cell) in cells.enumerate() {
            if i > 0 {
                out.push('\t');
            }
            pad(&mut out, cell, widths[i]);
        }
        out.push('\n');
    };
    line(&mut head.iter().copied());
    rows.iter().for_each(|row| line(&mut row.iter().map(String::as_str)));
    out
}

/// Columns of a least width, a space between them: the tables of `images` and `stats`.
pub fn spaced<const N: usize>(
    least: [usize; N],
    head: [&str; N],
    rows: &[[String; N]],
    trailing_space: bool,
) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|i| rows.iter().map(|r| width(&r[i])).max().unwrap_or(0).max(least[i]));
    let mut out = String::new();
    let mut line = |cells: [&str; N]| {
        for (i, cell) in cells.into_iter().enumerate() {
            pad(&mut out, cell, widths[i]);
            if i + 1 < N || trailing_space {
                out.push(' ');
            }
        }
        out.push('\n');
    };
    line(head);
    for row in rows {
        line(std::array::from_fn(|i| row[i].as_str()));
    }
    out
}

/// Lines with tabs: each column at least 10 wide and 3 wider than its widest cell; the last one is as it is. What
/// docker does for `--format "table …"`.
#[cfg(any(feature = "templates", feature = "image-tools"))]
pub fn tabulate(lines: &[String]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    let cells: Vec<Vec<&str>> = lines.iter().map(|l| l.split('\t').collect()).collect();
    for row in &cells {
        for (i, cell) in row[..row.len() - 1].iter().enumerate() {
            if widths.len() <= i {
                widths.push(10);
            }
            widths[i] = widths[i].max(width(cell) + 3);
        }
    }
    let mut out = String::new();
    for row in &cells {
        for (i, cell) in row.iter().enumerate() {
            let last = i + 1 == row.len();
            pad(&mut out, cell, if last { 0 } else { widths[i] });
        }
        out.push('\n');
    }
    out
}

/// Columns as ps(1) prints them: numbers to the right, texts to the left, the last column as it is.
pub fn processes(titles: &[String], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], i: usize| row.get(i).cloned().unwrap_or_default();
    let columns: Vec<(usize, bool)> = (0..titles.len())
        .map(|i| {
            let widest = rows.iter().map(|r| width(&cell(r, i))).max().unwrap_or(0).max(width(&titles[i]));
            let numeric = !rows.is_empty() && rows.iter().all(|r| is_number(&cell(r, i)));
            (widest, numeric)
        })
        .collect();
    let mut out = String::new();
    for row in std::iter::once(titles).chain(rows.iter().map(Vec::as_slice)) {
        for (i, (widest, numeric)) in columns.iter().enumerate() {
            let text = cell(row, i);
            if i > 0 {
                out.push(' ');
            }
            match (i + 1 == columns.len(), numeric) {
                (true, _) => out.push_str(&text),
                (false, true) => {
                    pad(&mut out, "", widest - width(&text));
                    out.push_str(&text);
                }
                (false, false) => pad(&mut out, &text, *widest),
            }
        }
        out.push('\n');
    }
    out
}

/// Digits with at most one point.
fn is_number(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn tabbed_columns() {
        assert_eq!(tabbed(&["A", "BB"], &[]), "A\tBB\n");
        assert_eq!(tabbed(&["A", "BB"], &[row(["xyz", ""]).into()]), "A  \tBB\nxyz\t  \n");
        assert_eq!(tabbed(&["A", "B"], &[row(["é", "1"]).into()]), "A\tB\né\t1\n");
    }

    #[test]
    fn process_columns() {
        let list = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let titles = list(&["UID", "PID", "CMD"]);
        let rows = [list(&["root", "7", "sleep 1"]), list(&["nobody", "1234", "sh"])];
        assert_eq!(processes(&titles, &rows), "UID     PID CMD\nroot      7 sleep 1\nnobody 1234 sh\n");
        assert_eq!(processes(&titles, &[list(&["a"])]), "UID PID CMD\na       \n");
        assert_eq!(processes(&[], &[]), "\n");
    }
}
