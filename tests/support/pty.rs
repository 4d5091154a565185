//! A terminal for a client, with the test as the person before it.

use super::{command, contains, eventually, sys};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub struct Terminal {
    child: Child,
    master: File,
    /// The other side, held open so that its settings can be read when the child has left.
    slave: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs a command on a new terminal of that size.
    pub fn run(mut command: Command, rows: u16, columns: u16) -> Terminal {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("posix_openpt");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let path = ptsname_r(&master).expect("ptsname_r");
        let slave = File::options().read(true).write(true).open(path).expect("the terminal");
        sys::set_window_size(&slave, rows, columns);
        let end = || OwnedFd::from(slave.try_clone().expect("a further descriptor"));
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm");
        sys::on_terminal(&mut command);
        let child = command.spawn().expect("the command");
        let master = File::from(std::os::fd::AsFd::as_fd(&master).try_clone_to_owned().expect("a descriptor"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().expect("a further descriptor"), seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = reader.read(&mut buffer)
                && n > 0
            {
                sink.lock().expect("no holder panics").extend_from_slice(&buffer[..n]);
            }
        });
        Terminal { child, master, slave, seen }
    }

    /// Everything on the screen since the beginning.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("no holder panics")).into_owned()
    }

    #[track_caller]
    pub fn await_text(&self, part: &str) {
        eventually(&format!("{part:?} on the terminal"), || self.screen().contains(part));
        contains(&self.screen(), part);
    }

    pub fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal reads");
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        // The kernel sends SIGWINCH to the terminal's foreground processes.
        sys::set_window_size(&self.master, rows, columns);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the terminal is in the mode that a shell leaves it in: lines are edited and echoed.
    pub fn is_cooked(&self) -> bool {
        use nix::sys::termios::{LocalFlags, tcgetattr};
        let settings = tcgetattr(&self.slave).expect("tcgetattr");
        settings.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// Whether its keys raise signals.
    pub fn heeds_keys(&self) -> bool {
        use nix::sys::termios::{LocalFlags, tcgetattr};
        tcgetattr(&self.slave).expect("tcgetattr").local_flags.contains(LocalFlags::ISIG)
    }

    /// Sets the mode that a shell wants.
    pub fn cook(&self) {
        use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};
        let mut settings = tcgetattr(&self.slave).expect("tcgetattr");
        settings.local_flags.insert(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
        settings.output_flags.insert(OutputFlags::OPOST);
        tcsetattr(&self.slave, SetArg::TCSANOW, &settings).expect("tcsetattr");
    }

    /// Waits for the command's end; its exit code.
    #[track_caller]
    pub fn finish(&mut self) -> i32 {
        let status = command::wait(&mut self.child, Duration::from_secs(30));
        command::code(status.unwrap_or_else(|| panic!("still running; the screen:\n{}", self.screen())))
    }
}
