//! A shim without containers: the real loop over plain processes, for tests that talk to it as a daemon does. The test
//! binary runs itself as that shim.

use super::container::{Engine, read_config};
use crate::api::oci::runtime::{Process, Resources, Spec};
use crate::api::shim::{Launch, Stats};
use crate::engine::create::Started;
use crate::error::{Error, Kind, Result};
use crate::utils::sys::{child, process, pty};
use nix::sys::signal::SigSet;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

#[derive(Default)]
struct Fake {
    pids: Vec<i32>,
}

impl Fake {
    fn spawn(&mut self, process: &Process, stdio: Option<[OwnedFd; 3]>) -> Result<Started> {
        let (mut words, mut terminal) = (process.args.clone(), None);
        let [input, output, error] = match stdio {
            Some(stdio) => stdio,
            None => {
                words.splice(0..0, ["setsid".to_owned(), "-c".to_owned()]);
                let flags = nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NOCTTY | nix::fcntl::OFlag::O_CLOEXEC;
                let master = nix::pty::posix_openpt(flags).unwrap();
                let peer = || pty::open_peer(master.as_fd()).unwrap();
                let stdio = [peer(), peer(), peer()];
                terminal = Some(OwnedFd::from(master));
                stdio
            }
        };
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(Stdio::from(error));
        child::unblock_signals(&mut command);
        let child = command.spawn().map_err(|e| {
            let kind = if e.kind() == std::io::ErrorKind::NotFound { Kind::CommandNotFound } else { Kind::Internal };
            Error::new(kind, format!("exec {:?}: {e}", words[0]))
        })?;
        let pid = child.id() as i32;
        self.pids.push(pid);
        Ok(Started { pid, pidfd: None, start_time: process::start_time(pid).unwrap_or(0), terminal })
    }
}

impl Engine for Fake {
    fn configuration(&mut self, launch: &Launch) -> Result<Spec> {
        read_config(&File::open(launch.bundle.join("config.json")).unwrap())
    }

    fn launch(&mut self, _: &Launch, spec: &Spec, stdio: Option<[OwnedFd; 3]>) -> Result<Started> {
        self.spawn(spec.process.as_ref().unwrap(), stdio)
    }

    fn exec(&mut self, process: &Process, stdio: Option<[OwnedFd; 3]>) -> Result<Started> {
        self.spawn(process, stdio)
    }

    fn processes(&self) -> Result<Vec<i32>> {
        Ok(self.pids.clone())
    }

    fn pause(&self) -> Result<()> {
        child::send_signal(self.pids[0], libc::SIGSTOP)
    }

    fn resume(&self) -> Result<()> {
        child::send_signal(self.pids[0], libc::SIGCONT)
    }

    fn update(&self, _: &Resources) -> Result<()> {
        Err(Error::new(Kind::Unsupported, "no limits here"))
    }

    fn stats(&self) -> Result<Stats> {
        Ok(Stats { pids: self.pids.len() as u64, ..Stats::default() })
    }

    fn oom_notifier(&self) -> Option<OwnedFd> {
        None
    }

    fn oom_kills(&self) -> u64 {
        0
    }

    fn destroy(&mut self) -> bool {
        true
    }
}

/// The file for which it waits first.
const GATE: &str = "ISULABOX_TEST_SHIM_GATE";
/// The variable that makes the test below a shim.
const VARIABLE: &str = "ISULABOX_TEST_SHIM";

#[test]
fn fake_shim() {
    match std::env::var(VARIABLE).as_deref() {
        // The test harness has a thread that would take the signals; with a mask that is there from the start it
        // does not.
        Ok("1") => {
            SigSet::all().thread_block().unwrap();
            let words = |list: Vec<String>| list.into_iter().map(|w| CString::new(w).unwrap()).collect::<Vec<_>>();
            let argv = words(std::env::args().collect());
            let gate = std::env::var(GATE).map(|path| format!("{GATE}={path}"));
            let env = words([format!("{VARIABLE}=2")].into_iter().chain(gate).collect());
            let Err(e) = nix::unistd::execve(c"/proc/self/exe", &argv, &env);
            panic!("{e}");
        }
        Ok("2") => {
            let gate = std::env::var(GATE);
            while gate.as_ref().is_ok_and(|path| !std::path::Path::new(path).exists()) {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let done = super::enter().and_then(|watch| super::run(watch, |_| Ok(Box::new(Fake::default()))));
            std::process::exit(i32::from(done.is_err()));
        }
        _ => {}
    }
}
