//! Clocks that jump: boards without a battery start in 1970 and are in the present a minute later. Only where nobody
//! else lives by the clock: on the emulated board, with nothing else to test.

use crate::support::bed::Bed;
use crate::support::{IMAGE, contains, eventually, sys};
use crate::{requires, tests};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Stdio;

tests![the_clock_jumps];

/// Seconds in a year, nearly.
const YEAR: i64 = 365 * 24 * 3600;

fn the_clock_jumps(bed: &mut Bed) {
    requires!(own_clock);
    bed.start();
    bed.run_detached("probed", "--health-interval 1s --health-cmd true", "payload ready 100000");
    bed.run_detached("again", "--restart always", "sh -c 'sleep 1; exit 3'");
    // Not beyond 2038, where clocks of 32 bits end.
    for (n, years) in [-10, 20, -40, 30].into_iter().enumerate() {
        bed.run_detached("stubborn", "", "payload ignore-term");
        bed.run_detached("ended", "", "payload ready 100000");
        let probed = || bed.inspect("probed", "/State/Health/Log").as_array().unwrap().last().map(ToString::to_string);
        let restarts = || bed.inspect("again", "/RestartCount").as_u64().unwrap();
        let path = bed.dir.join("heard");
        let file = std::fs::File::create(&path).unwrap();
        let mut listener = bed.applet("isula").arg("events").stdin(Stdio::null()).stdout(file).spawn().unwrap();
        let heard = |name: &str| {
            let text = std::fs::read_to_string(&path).unwrap();
            text.lines().any(|l| l.contains(" container destroy ") && l.contains(&format!("name={name})")))
        };
        eventually("it listens", || {
            bed.isula(&format!("run --rm --name early {IMAGE} true")).ok();
            heard("early")
        });
        sys::turn_clock(years * YEAR);
        let (probe, count) = (probed(), restarts());
        eventually("it is probed again", || probed() != probe);
        assert_eq!(bed.inspect("probed", "/State/Health/Status"), "healthy");
        // The delay between them grows.
        eventually("it is started again", || restarts() > count);
        bed.isula("stop -t 1 stubborn").ok();
        assert_eq!(bed.inspect("stubborn", "/State/ExitCode"), 137);
        // Who lives when the clock is behind its start has lived for no time.
        contains(&bed.isula("ps").ok(), "Up ");
        bed.isula(&format!("run --rm --name short{n} {IMAGE} echo well")).ok();
        eventually("it is told", || heard(&format!("short{n}")));
        listener.kill().unwrap();
        listener.wait().unwrap();
        // An end that no daemon saw, in a time before the start.
        let init = bed.container_pid("ended");
        bed.kill();
        sys::turn_clock(-YEAR);
        kill(Pid::from_raw(init as i32), Signal::SIGKILL).unwrap();
        eventually("it has ended", || !std::path::Path::new(&format!("/proc/{init}")).exists());
        bed.restart();
        sys::turn_clock(YEAR);
        assert_eq!(bed.inspect("ended", "/State/Status"), "exited");
        assert_eq!(bed.inspect("ended", "/State/ExitCode"), 137);
        assert_eq!(bed.inspect("probed", "/State/Running"), true);
        bed.isula("rm stubborn ended").ok();
    }
    bed.isula("rm -f probed again").ok();
}
