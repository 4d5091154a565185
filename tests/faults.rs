//! Kills and power cuts at every step of what changes the store: pull, load, import, tag, rmi, prune, create, rm. What
//! was acknowledged lasts, nothing is half there, nothing is left over.
//!
//! In a usual run as many steps as fit into a bounded time, chosen by a seed that is printed (ISULABOX_FAULTS_SEED); all
//! of them with ISULABOX_FAULTS=all, which for one operation at a time (ISULABOX_FAULTS_OPERATION=load) ends before the
//! runner's deadline.

use crate::support::bed::Bed;
use crate::support::disk::Disk;
use crate::support::stage::{Ground, Moment, Stage, all};
use crate::support::world::Chance;
use crate::{requires, tests};
use std::time::{Duration, Instant};

tests![
    killed_at_any_step,
    power_cut_at_any_step,
    power_cut_at_any_time,
    power_cut_on_ext4_with_data_written_back,
    power_cut_on_xfs,
    power_cut_on_btrfs,
];

/// Time for each operation in a usual run.
const SHARE: Duration = Duration::from_millis(1000);
/// The same on file systems that fewer have.
const SMALL_SHARE: Duration = Duration::from_millis(400);
/// When no further operation is begun, on a slow machine.
const ENOUGH: Duration = Duration::from_secs(150);

/// Nothing goes to the disk by itself.
const STILL: &str = "commit=1000";

fn killed_at_any_step(bed: &mut Bed) {
    requires!(stopped_calls, gnu);
    sweep_all(bed, Ground::Directory, SHARE);
}

fn power_cut_at_any_step(bed: &mut Bed) {
    requires!(stopped_calls, loop_ext4);
    cut_on(bed, "ext4", STILL, 64, SHARE);
}

fn power_cut_on_ext4_with_data_written_back(bed: &mut Bed) {
    requires!(stopped_calls, loop_ext4);
    cut_on(bed, "ext4", "commit=1000,data=writeback,noauto_da_alloc", 64, SMALL_SHARE);
}

fn power_cut_on_xfs(bed: &mut Bed) {
    if let Err(reason) = crate::support::requires::file_system("xfs") {
        crate::support::runner::skip(&reason);
    }
    requires!(stopped_calls);
    cut_on(bed, "xfs", "", 320, SMALL_SHARE);
}

fn power_cut_on_btrfs(bed: &mut Bed) {
    if let Err(reason) = crate::support::requires::file_system("btrfs") {
        crate::support::runner::skip(&reason);
    }
    requires!(stopped_calls);
    cut_on(bed, "btrfs", STILL, 256, SMALL_SHARE);
}

fn cut_on(bed: &mut Bed, kind: &'static str, options: &'static str, megabytes: u64, share: Duration) {
    let disk = Disk::make(kind, options, &bed.dir.join("disk.img"), megabytes, &bed.graph());
    sweep_all(bed, Ground::Disk(disk), share);
}

fn sweep_all(bed: &mut Bed, ground: Ground, share: Duration) {
    bed.log_level = "info";
    let begin = Instant::now();
    let mut chance = Chance::new();
    let mut stage = Stage::set(bed, ground);
    for operation in stage.operations(bed, &mut chance) {
        if begin.elapsed() > ENOUGH && !all() {
            println!("{}: left out, it takes long here", operation.name);
            continue;
        }
        stage.sweep(bed, &operation, share, &mut chance);
    }
    stage.clear(bed);
}

/// With the file system's own times: what is written by itself may be on the disk, or not.
fn power_cut_at_any_time(bed: &mut Bed) {
    requires!(stopped_calls, loop_ext4);
    bed.log_level = "info";
    let disk = Disk::make("ext4", "", &bed.dir.join("disk.img"), 64, &bed.graph());
    let mut chance = Chance::new();
    let mut stage = Stage::set(bed, Ground::Disk(disk));
    let begin = Instant::now();
    for (n, operation) in stage.operations(bed, &mut chance).iter().enumerate() {
        if begin.elapsed() > ENOUGH {
            println!("{}: left out, it takes long here", operation.name);
            continue;
        }
        let (after, _) = stage.rehearse(bed, operation);
        for longest in [20, 80] {
            let time = Duration::from_millis(chance.below(longest) as u64);
            stage.blow_and_check(bed, operation, &after, Moment::Time(time));
        }
        // Beyond the interval of commits for one of them: it takes long.
        let wait = if n == 0 { 5200 } else { 20 + chance.below(400) as u64 };
        stage.blow_and_check(bed, operation, &after, Moment::Answer(Duration::from_millis(wait)));
    }
    stage.clear(bed);
}
