//! `pull login logout`.

use super::failure::Failure;
use super::{Session, output};
use crate::api::image::{AuthRequest, ProgressLine};
use crate::client::Client;
use crate::utils::size;
use crate::utils::sys::terminal::{self, RawMode};
use argh::{ArgsInfo, FromArgs};
use std::io::{BufRead, Read, stdin, stdout};
use std::os::fd::AsFd;

/// Longest password that is read, in bytes.
const LONGEST: u64 = 64 << 10;
/// Columns from which on a bar is drawn.
const WIDE: u16 = 110;
/// Digits of a layer's digest that are shown.
const DIGITS: usize = 12;

/// pull an image from a registry
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "pull")]
pub struct Pull {
    /// OS/ARCHITECTURE[/VARIANT] in place of this machine's
    #[argh(option, arg_name = "string")]
    platform: Option<String>,
    /// print the id only
    #[argh(switch, short = 'q')]
    quiet: bool,
    #[argh(positional, arg_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

impl Pull {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client()?;
        if !self.quiet {
            output::complain(&format!("Image \"{}\" pulling", self.name));
        }
        let id = pull(client, &self.name, self.platform.as_deref(), self.quiet)?;
        match self.quiet {
            true => output::print(&format!("{id}\n"))?,
            false => output::print(&format!("Image \"{id}\" pulled\n"))?,
        }
        Ok(0)
    }
}

/// Pulls an image and shows on a terminal how far it is; gives the id.
///
/// # Errors
/// The daemon's.
pub fn pull(client: &Client, name: &str, platform: Option<&str>, quiet: bool) -> Result<String, Failure> {
    let screen = stdout();
    let wants_bars = !quiet && terminal::is_terminal(screen.as_fd());
    let mut table = Table::default();
    client.image_pull(name, platform, &mut |line| {
        if wants_bars && table.take(line) {
            let columns = terminal::window_size(screen.as_fd()).map_or(0, |(_, columns)| columns);
            // Whoever does not look any more still gets the image.
            let _ = output::print(&table.draw(columns));
        }
        Ok(())
    })?;
    let image = client.image_inspect(name)?;
    Ok(image.id.trim_start_matches("sha256:").to_owned())
}

/// The layers of a pull, a line each.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    drawn: usize,
}

struct Row {
    id: String,
    status: String,
    /// How far it is, drawn by the daemon, and in bytes.
    progress: Option<(String, u64, u64)>,
}

impl Table {
    /// Notes a line; whether there is something new to see.
    fn take(&mut self, line: ProgressLine) -> bool {
        let (Some(id), Some(status)) = (line.id, line.status) else { return false };
        if status.starts_with("Pulling from") {
            return false;
        }
        let progress = line.progress.zip(line.progress_detail).map(|(bar, d)| (bar, d.current, d.total));
        let changed = Row { id, status, progress };
        match self.rows.iter_mut().find(|row| row.id == changed.id) {
            Some(row) => *row = changed,
            None => self.rows.push(changed),
        }
        true
    }

    /// The table over the one that was drawn before.
    fn draw(&mut self, columns: u16) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for row in &self.rows {
            let id = row.id.get(..DIGITS).unwrap_or(&row.id);
            let what = match &row.progress {
                Some((bar, ..)) if columns >= WIDE => bar.clone(),
                Some((_, current, total)) => format!("{}/{}", size::decimal(*current), size::decimal(*total)),
                None => row.status.clone(),
            };
            text.push_str(&format!("\r\x1b[2K{id}: {what}\n"));
        }
        self.drawn = self.rows.len();
        text
    }
}

/// log in to a registry
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "login")]
pub struct Login {
    /// user name
    #[argh(option, short = 'u', arg_name = "string")]
    username: Option<String>,
    /// password; other users of this machine can see it there
    #[argh(option, short = 'p', arg_name = "string")]
    password: Option<String>,
    /// read the password from standard input
    #[argh(switch)]
    password_stdin: bool,
    #[argh(positional, arg_name = "SERVER")]
    server: String,
}

impl Login {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        if self.password.is_some() && self.password_stdin {
            return Err(Failure::usage("--password and --password-stdin are mutually exclusive"));
        }
        if self.password_stdin && self.username.is_none() {
            return Err(Failure::usage("Must provide --username with --password-stdin"));
        }
        if self.password.is_some() {
            output::complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        let username = match self.username {
            Some(name) => name,
            None => ask("Username: ", false)?,
        };
        let password = match self.password {
            Some(password) => password,
            None if self.password_stdin => {
                let mut text = String::new();
                let read = stdin().lock().take(LONGEST).read_to_string(&mut text);
                read.map_err(|e| Failure::local(format!("cannot read the password: {e}")))?;
                text.trim_end_matches(['\n', '\r']).to_owned()
            }
            None => ask("Password: ", true)?,
        };
        let request = AuthRequest { username, password, serveraddress: self.server };
        let answer = session.client()?.login(&request)?;
        output::complain(&answer.status);
        Ok(0)
    }
}

/// Asks on the terminal.
fn ask(question: &str, hidden: bool) -> Result<String, Failure> {
    let input = stdin();
    if !terminal::is_terminal(input.as_fd()) {
        return Err(Failure::usage("Cannot perform an interactive login from a non TTY device"));
    }
    let guard = hidden.then(|| RawMode::hide(input.as_fd())).transpose()?;
    output::print(question)?;
    let mut text = String::new();
    let read = input.lock().take(LONGEST).read_line(&mut text);
    if guard.is_some() {
        output::print("\n")?;
    }
    read.map_err(|e| Failure::local(format!("cannot read the answer: {e}")))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// log out from a registry
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "logout")]
pub struct Logout {
    #[argh(positional, arg_name = "SERVER")]
    server: String,
}

impl Logout {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        session.client()?.logout(&self.server)?;
        output::print("Logout Succeeded\n")?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::image::ProgressDetail;

    #[test]
    fn the_table_is_drawn_over_itself() {
        let mut table = Table::default();
        let line = |id: &str, status: &str, detail: Option<(u64, u64)>| ProgressLine {
            id: Some(id.into()),
            status: Some(status.into()),
            progress: detail.map(|_| "[=>] drawn".into()),
            progress_detail: detail.map(|(current, total)| ProgressDetail { current, total }),
            ..ProgressLine::default()
        };
        assert!(!table.take(line("latest", "Pulling from library/x", None)));
        assert!(!table.take(ProgressLine { status: Some("Digest: x".into()), ..ProgressLine::default() }));
        assert!(table.take(line("aaaaaaaaaaaabbb", "Already exists", None)));
        assert!(table.take(line("c", "Downloading", Some((500, 1000)))));
        let first = table.draw(80);
        assert_eq!(first, "\r\x1b[2Kaaaaaaaaaaaa: Already exists\n\r\x1b[2Kc: 500B/1kB\n");
        let second = table.draw(120);
        assert!(second.starts_with("\x1b[2A\r"), "{second:?}");
        assert!(second.ends_with("c: [=>] drawn\n"), "{second:?}");
    }
}
