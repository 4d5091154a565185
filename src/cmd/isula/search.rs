//! `search`.

use super::failure::Failure;
use super::ordered::Node;
use super::template::{self, Format};
use super::{Session, filters, output, table};
use crate::api::image::SearchResult;
use crate::client::ImageSearchRequest;
use crate::utils::order;
use argh::{ArgsInfo, FromArgs};

const FILTERS: &[&str] = &["is-official", "is-automated", "stars"];

/// Fields of `--format` with their heads.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("Name", "NAME"), ("Description", "DESCRIPTION"), ("StarCount", "STARS"), ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

/// The least and the most that can be asked for.
const LIMITS: [i64; 2] = [1, 100];
/// Characters of a description that are shown.
const DESCRIPTION: usize = 45;

/// search a registry for images
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "search")]
pub struct Search {
    /// only those that match: is-official, is-automated, stars (so many or more)
    #[argh(option, short = 'f', arg_name = "filter")]
    filter: Vec<String>,
    /// print each row with a Go template, `table TEMPLATE` or `json`
    #[argh(option, arg_name = "string")]
    format: Option<String>,
    /// how many at most (default 25)
    #[argh(option, arg_name = "int", default = "25")]
    limit: i64,
    /// do not shorten descriptions
    #[argh(switch)]
    no_trunc: bool,
    #[argh(positional, arg_name = "[HOST/]TERM")]
    term: String,
}

impl Search {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let [least, most] = LIMITS;
        if !(least..=most).contains(&self.limit) {
            let text = format!("Limit {} is outside the range of [{least}, {most}]", self.limit);
            return Err(Failure::usage(text));
        }
        if self.term.contains("://") {
            return Err(Failure::usage(format!("Invalid search name: {}", self.term)));
        }
        let request =
            ImageSearchRequest { term: self.term.clone(), limit: self.limit, filters: filters(&self.filter, FILTERS)? };
        let format = template::asked_rows(self.format.as_deref())?;
        let list = session.client()?.image_search(&request)?;
        output::print(&self.screen(list, format)?)?;
        Ok(0)
    }

    fn screen(&self, mut list: Vec<SearchResult>, format: Option<Format>) -> Result<String, Failure> {
        order::sort_by_key(&mut list, |found| std::cmp::Reverse(found.star_count));
        if let Some(format) = format {
            let nodes: Vec<Node> = list.iter().map(|found| self.fields(found)).collect();
            return format.render_rows(FIELDS, &nodes);
        }
        let mark = |holds: bool| if holds { "[OK]".to_owned() } else { String::new() };
        let row = |found: &SearchResult| {
            let stars = found.star_count.to_string();
            let marks = [found.is_official, found.is_automated].map(mark);
            let [official, automated] = marks;
            [one_line(&found.name), self.description(found), stars, official, automated]
        };
        let rows: Vec<[String; 5]> = list.iter().map(row).collect();
        let head = ["NAME", "DESCRIPTION", "STARS", "OFFICIAL", "AUTOMATED"];
        Ok(table::spaced([24, 48, 6, 9, 10], head, &rows, true))
    }

    fn description(&self, found: &SearchResult) -> String {
        let text = one_line(&found.description);
        match text.chars().count() > DESCRIPTION && !self.no_trunc {
            true => format!("{}...", text.chars().take(DESCRIPTION).collect::<String>()),
            false => text,
        }
    }

    fn fields(&self, found: &SearchResult) -> Node {
        Node::texts([
            ("Name", one_line(&found.name)),
            ("Description", self.description(found)),
            ("StarCount", found.star_count.to_string()),
            ("IsOfficial", found.is_official.to_string()),
            ("IsAutomated", found.is_automated.to_string()),
        ])
    }
}

/// Text of a stranger without what moves a terminal's cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(words: &[&str]) -> Search {
        Search::from_args(&["search"], words).unwrap()
    }

    fn found(name: &str, description: &str, star_count: i64) -> SearchResult {
        let (name, description) = (name.into(), description.into());
        SearchResult { name, description, star_count, is_official: star_count > 5, is_automated: false }
    }

    #[test]
    fn the_most_stars_come_first() {
        let long = "0123456789".repeat(5);
        let list = vec![found("few", "with\nlines\u{1b}[2J", 3), found("many", &long, 70)];
        let screen = search(&["x"]).screen(list.clone(), None).unwrap();
        let lines: Vec<&str> = screen.lines().collect();
        let row = |cells: [&str; 5]| {
            let [name, description, stars, official, automated] = cells;
            format!("{name:<24} {description:<48} {stars:<6} {official:<9} {automated:<10} ")
        };
        assert_eq!(lines[0], row(["NAME", "DESCRIPTION", "STARS", "OFFICIAL", "AUTOMATED"]));
        assert_eq!(lines[1], row(["many", &format!("{}...", &long[..45]), "70", "[OK]", ""]));
        assert_eq!(lines[2], row(["few", "with lines [2J", "3", "", ""]));
        assert!(search(&["--no-trunc", "x"]).screen(list, None).unwrap().contains(&long));
    }

    #[test]
    fn what_cannot_be_asked_is_refused_before_the_daemon_is() {
        let session =
            Session { host: "unix:///nosuch/socket".into(), secure: Default::default(), client: Default::default() };
        for (words, text) in [
            (&["--limit", "0", "x"][..], "Limit 0 is outside the range of [1, 100]"),
            (&["--limit", "101", "x"], "Limit 101 is outside the range of [1, 100]"),
            (&["https://x"], "Invalid search name: https://x"),
            (&["-f", "x=y", "x"], "Invalid filter 'x'"),
        ] {
            assert_eq!(search(words).run(&session).unwrap_err().text, text);
        }
    }
}
