//! `history`.

use super::failure::Failure;
use super::ordered::Node;
use super::template::{self, Format};
use super::{Session, output, table};
use crate::api::image::{HistoryEntry, NEVER};
use crate::utils::id::short;
use crate::utils::size;
use crate::utils::sys::zone;
use crate::utils::time::{Timestamp, human_duration};
use argh::{ArgsInfo, FromArgs};

/// show how an image was made
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "history")]
pub struct History {
    /// print each row with a Go template, `table TEMPLATE` or `json`
    #[argh(option, arg_name = "string")]
    format: Option<String>,
    /// sizes and ages for people; true by default
    #[argh(option, arg_name = "bool", default = "true")]
    human: bool,
    /// do not shorten ids and commands
    #[argh(switch)]
    no_trunc: bool,
    /// print ids only
    #[argh(switch, short = 'q')]
    quiet: bool,
    #[argh(positional, arg_name = "IMAGE")]
    image: String,
}

/// Fields of `--format` with their heads.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("ID", "IMAGE"), ("CreatedSince", "CREATED"), ("CreatedAt", "CREATED AT"), ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"), ("Comment", "COMMENT"),
];
/// Columns that docker shows a command in.
const COMMAND: usize = 45;
const NOT_KNOWN: &str = "N/A";

impl History {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let format = template::asked_rows(self.format.as_deref())?;
        let steps = session.client()?.image_history(&self.image)?;
        output::print(&self.screen(&steps, format, Timestamp::now())?)?;
        Ok(0)
    }

    fn screen(&self, steps: &[HistoryEntry], format: Option<Format>, now: Timestamp) -> Result<String, Failure> {
        let rows: Vec<[String; 6]> = steps.iter().map(|step| self.row(step, now)).collect();
        if let Some(format) = format {
            let node =
                |row: &[String; 6]| Node::texts(std::array::from_fn::<_, 6, _>(|i| (FIELDS[i].0, row[i].clone())));
            return format.render_rows(FIELDS, &rows.iter().map(node).collect::<Vec<_>>());
        }
        if self.quiet {
            return Ok(rows.iter().map(|[id, ..]| format!("{id}\n")).collect());
        }
        let created = if self.human { 1 } else { 2 };
        let line = |row: [&str; 6]| [row[0], row[created], row[3], row[4], row[5]].join("\t");
        let head = line(std::array::from_fn(|i| FIELDS[i].1));
        let rows = rows.iter().map(|row| line(std::array::from_fn(|i| row[i].as_str())));
        Ok(table::tabulate(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))
    }

    fn row(&self, step: &HistoryEntry, now: Timestamp) -> [String; 6] {
        let bare = step.id.strip_prefix("sha256:").unwrap_or(&step.id);
        let time = Timestamp::from_unix(step.created, 0);
        let (age, at) = match step.created {
            NEVER => (NOT_KNOWN.to_owned(), NOT_KNOWN.to_owned()),
            _ => (format!("{} ago", human_duration(now.since(time))), time.rfc3339_in(zone::utc_offset)),
        };
        let command = step.created_by.replace('\t', " ");
        let bytes = u64::try_from(step.size).unwrap_or(0);
        [
            // What is no id is not shortened.
            if self.no_trunc || bare == step.id { step.id.clone() } else { short(bare).to_owned() },
            age,
            at,
            if self.no_trunc { command } else { shortened(&command) },
            if self.human { size::decimal_with(bytes, 3) } else { bytes.to_string() },
            step.comment.clone(),
        ]
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(COMMAND) {
        Some(_) => text.chars().take(COMMAND - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_dockers() {
        let step = |id: &str, created_by: &str, size, comment: &str| HistoryEntry {
            id: id.into(),
            created: 1_704_067_200,
            created_by: created_by.into(),
            tags: None,
            size,
            comment: comment.into(),
        };
        let id = format!("sha256:{}", "7803e7bbd995".repeat(6));
        let long = format!("RUN\t{}", "x".repeat(60));
        let steps =
            [step(&id, &long, 0, "buildkit"), HistoryEntry { created: NEVER, ..step("<missing>", "ADD", 1500, "") }];
        let flags = History { format: None, human: true, no_trunc: false, quiet: false, image: String::new() };
        let now = Timestamp::from_unix(1_704_067_200 + 7200, 0);
        let want = format!(
            "IMAGE          CREATED       CREATED BY                                      SIZE      COMMENT\n\
             7803e7bbd995   2 hours ago   RUN {}…   0B        buildkit\n\
             <missing>      N/A           ADD                                             1.5kB     \n",
            "x".repeat(40)
        );
        assert_eq!(flags.screen(&steps, None, now).unwrap(), want);
        let quiet = History { quiet: true, no_trunc: true, ..flags };
        assert_eq!(quiet.screen(&steps, None, now).unwrap(), format!("{id}\n<missing>\n"));
        let plain = History { quiet: false, human: false, ..quiet };
        let screen = plain.screen(&steps, None, now).unwrap();
        let created = Timestamp::from_unix(1_704_067_200, 0).rfc3339_in(crate::utils::sys::zone::utc_offset);
        assert!(screen.contains(&created) && screen.contains("1500"), "{screen}");
    }
}
