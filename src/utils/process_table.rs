//! Rows of `ps -ef`, read from `/proc` (proc(5)).

use crate::utils::time::{Civil, Timestamp};
use crate::utils::{order, pseudo_file};
use std::collections::BTreeMap;

/// What the rows of one table share.
pub struct Host {
    users: BTreeMap<u32, String>,
    boot: i64,
    now: i64,
    ticks: u64,
    terminals: BTreeMap<(u32, u32), String>,
}

/// The fields of `/proc/PID/stat` that are shown.
struct Stat {
    comm: String,
    ppid: i32,
    terminal: u32,
    cpu_ticks: u64,
    start_ticks: u64,
}

impl Host {
    /// Reads users, boot time and terminals.
    pub fn read() -> Host {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((fields.nth(1)?.parse().ok()?, name.to_string()))
        };
        let users = order::map(passwd.lines().filter_map(user));
        let stat = pseudo_file::read_to_string("/proc/stat").unwrap_or_default();
        let boot = stat.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0);
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100).max(1) as u64;
        Host { users, boot, now: Timestamp::now().unix_seconds(), ticks, terminals: terminals() }
    }

    /// UID, PID, PPID, C, STIME, TTY, TIME, CMD; `None` when the process has ended.
    pub fn row(&self, pid: i32) -> Option<Vec<String>> {
        let stat = parse_stat(&pseudo_file::read(format!("/proc/{pid}/stat")).ok()?)?;
        let status = pseudo_file::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let uid: u32 =
            status.lines().find_map(|l| l.strip_prefix("Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok())?;
        let user = self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string());
        let started = self.boot + (stat.start_ticks / self.ticks) as i64;
        let seconds = stat.cpu_ticks / self.ticks;
        let age = u64::try_from(self.now - started).unwrap_or(0);
        let share = (seconds * 100).checked_div(age).unwrap_or(0).min(99);
        Some(vec![
            user,
            pid.to_string(),
            stat.ppid.to_string(),
            share.to_string(),
            start_text(started, self.now),
            self.terminals.get(&device(stat.terminal)).cloned().unwrap_or_else(|| terminal_name(stat.terminal)),
            format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
            command(pid, &stat.comm),
        ])
    }
}

/// Time of day for what started within a day, else month and day, as ps prints it. UTC: no zone database is read.
fn start_text(started: i64, now: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let c = Civil::from_unix(started);
    if now - started < 86_400 {
        format!("{:02}:{:02}", c.hour, c.minute)
    } else {
        format!("{}{:02}", MONTHS[(c.month as usize + 11) % 12], c.day)
    }
}

fn command(pid: i32, comm: &str) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    match text.trim_end() {
        "" => format!("[{comm}]"),
        text => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
    }
}

fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    // The command in parentheses may hold spaces and parentheses of its own.
    let open = bytes.iter().position(|&b| b == b'(')?;
    let close = bytes.iter().rposition(|&b| b == b')')?;
    let comm = String::from_utf8_lossy(bytes.get(open + 1..close)?).into_owned();
    let fields: Vec<&str> = std::str::from_utf8(bytes.get(close + 2..)?).ok()?.split_ascii_whitespace().collect();
    // fields[0] is field 3 of proc(5).
    let number = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    Some(Stat {
        comm,
        ppid: fields.get(1)?.parse().ok()?,
        terminal: fields.get(4)?.parse::<i32>().ok()? as u32,
        cpu_ticks: number(14)? + number(15)?,
        start_ticks: number(22)?,
    })
}

/// Major and minor number out of the packed form of proc(5).
fn device(packed: u32) -> (u32, u32) {
    ((packed >> 8) & 0xfff, (packed & 0xff) | ((packed >> 12) & 0xfff00))
}

fn terminal_name(packed: u32) -> String {
    match device(packed) {
        (0, 0) => "?".into(),
        // Pseudo terminals have eight major numbers of 256 each.
        (major @ 136..=143, minor) => format!("pts/{}", (major - 136) * 256 + minor),
        _ => "?".into(),
    }
}

/// Names of terminals that are not pseudo terminals: consoles and serial lines.
fn terminals() -> BTreeMap<(u32, u32), String> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/dev").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("tty") && name != "console" {
            continue;
        }
        if let Ok(m) = entry.metadata()
            && m.file_type().is_char_device()
        {
            found.insert((nix::sys::stat::major(m.rdev()) as u32, nix::sys::stat::minor(m.rdev()) as u32), name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_row() {
        let me = std::process::id() as i32;
        let row = Host::read().row(me).unwrap();
        assert_eq!((row.len(), row[0].as_str(), row[1].as_str()), (8, "root", me.to_string().as_str()));
        assert!(row[4].len() == 5 && row[6].len() == 8 && !row[7].is_empty(), "{row:?}");
        assert!(Host::read().row(i32::MAX).is_none());
    }

    #[test]
    fn a_command_cannot_forge_fields() {
        let line = b"7 (a) R 1 (b)) S 3 7 7 34817 7 0 0 0 0 0 150 50 0 0 20 0 1 0 900 0";
        let s = parse_stat(line).unwrap();
        assert_eq!((s.comm.as_str(), s.ppid, s.cpu_ticks, s.start_ticks), ("a) R 1 (b)", 3, 200, 900));
        assert_eq!(terminal_name(s.terminal), "pts/1");
        assert!(parse_stat(b"7 (a").is_none() && parse_stat(b"").is_none() && parse_stat(b"7 (a) S").is_none());
    }

    #[test]
    fn start_times() {
        assert_eq!(start_text(3600, 7200), "01:00");
        assert_eq!(start_text(0, 864_000), "Jan01");
    }
}
