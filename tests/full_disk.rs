//! Disks that fill up: at any point of what needs room, which says so and leaves nothing; and with not one block left,
//! when what makes room must still work.

use crate::support::bed::Bed;
use crate::support::disk::Disk;
use crate::support::stage::{self, Ground, Stage};
use crate::support::world::{Chance, World};
use crate::support::{contains, rootfs};
use crate::{requires, tests};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

tests![any_room_on_ext4, any_room_on_tmpfs, removals_with_no_block_left, a_full_disk_does_not_choose_the_driver];

/// Time for each operation in a usual run.
const SHARE: Duration = Duration::from_millis(1500);

fn any_room_on_ext4(bed: &mut Bed) {
    requires!(stopped_calls, loop_ext4);
    let disk = Disk::make("ext4", "", &bed.dir.join("disk.img"), 32, &bed.graph());
    any_room(bed, Ground::Disk(disk));
}

fn any_room_on_tmpfs(bed: &mut Bed) {
    requires!(stopped_calls, gnu);
    rootfs::small_disk(&bed.graph(), 16 << 10);
    bed.own_mounts();
    any_room(bed, Ground::Directory);
}

fn any_room(bed: &mut Bed, ground: Ground) {
    bed.log_level = "info";
    let mut chance = Chance::new();
    let mut stage = Stage::set(bed, ground);
    let all = stage::all();
    for operation in stage.operations(bed, &mut chance) {
        let begin = Instant::now();
        let (after, _) = stage.rehearse(bed, &operation);
        let (mut done, mut runs) = (0, 0);
        // From nothing to what the largest of them needs; some need none.
        const MOST: [usize; 7] = [0, 4, 16, 64, 256, 1024, 3 << 10];
        let order = (0..if all { 10 } else { 1 }).flat_map(|_| chance.order(MOST.len())).collect::<Vec<_>>();
        for most in order.into_iter().map(|n| MOST[n]) {
            if !all && runs > 0 && begin.elapsed() > SHARE {
                break;
            }
            runs += 1;
            done += usize::from(stage.squeeze(bed, &operation, &after, chance.below(most * 1024 + 1) as u64));
        }
        println!("{}: {done} of {runs} had room, {:.1} s", operation.name, begin.elapsed().as_secs_f64());
    }
    stage.clear(bed);
}

/// Fills the blocks of directories with links of a file, as long as names of temporary files fit. Gives the links.
fn crowd(directories: &[PathBuf], file: &Path) -> Vec<PathBuf> {
    let mut links = Vec::new();
    for directory in directories {
        // In which block a name comes is left to chance; all of them are full when many in a row find no place.
        let mut misses = 0;
        for n in 0.. {
            // As long as those of containers and layers: what they leave of a block is what a removal has.
            let link = directory.join(format!("{n:064}"));
            match fs::hard_link(file, &link) {
                Ok(()) => {
                    misses = 0;
                    links.push(link);
                }
                Err(e) => {
                    assert_eq!(e.raw_os_error(), Some(libc::ENOSPC), "{e}");
                    misses += 1;
                }
            }
            if misses == 200 {
                break;
            }
        }
    }
    links
}

fn removals_with_no_block_left(bed: &mut Bed) {
    requires!(loop_ext4);
    bed.log_level = "info";
    let disk = Disk::make("ext4", "", &bed.dir.join("disk.img"), 48, &bed.graph());
    rootfs::small_disk(&bed.state(), 512);
    bed.own_mounts();
    bed.launch(&[]);
    for (name, names) in [("kept", &["kept:v1"][..]), ("other", &["other:v1"]), ("many", &["many:v1", "many:v2"])] {
        let path = stage::archive(bed, name, &["base", name], names);
        bed.isula(&format!("load -i {}", path.display())).ok();
    }
    bed.isula("run -d --name works kept:v1 busybox sleep 1000").ok();
    for n in 0..60 {
        bed.isula(&format!("create --name c{n} kept:v1")).ok();
    }
    let (graph, storage) = (bed.graph(), bed.graph().join("storage"));
    let directories = ["overlay", "overlay-images", "overlay-layers"].map(|name| storage.join(name));
    let directories = [&directories[..], &[graph.join("engines/lcr")]].concat();
    fs::write(graph.join("one"), "").unwrap();
    stage::fill(&graph, 0);
    let links = crowd(&directories, &graph.join("one"));
    let o = bed.isula("tag kept:v1 new:v1");
    assert_ne!(o.code, 0, "{}", o.show());
    contains(&o.err.to_lowercase(), "no space left on device");
    for line in ["rm c0", "rmi many:v2", "rmi other:v1", "rm c1 c2"] {
        bed.isula(line).ok();
    }
    let world = World::of(bed);
    assert!(world.images.keys().eq(["kept:v1", "many:v1"]), "{world:#?}");
    links.iter().for_each(|link| fs::remove_file(link).unwrap());
    world.await_tidiness(bed);
    // What that made free is taken again.
    let filler = graph.join("more");
    let _ = fs::write(&filler, vec![0; 4 << 20]);
    bed.kill();
    bed.launch(&[]);
    assert_eq!(bed.isula("ps -q").ok().lines().count(), 1, "it still runs");
    // Not even a note of what is going on can be made.
    stage::fill(&bed.state(), 0);
    bed.isula("pause works").ok();
    bed.kill();
    bed.launch(&[]);
    assert_eq!(bed.inspect("works", "/State/Status"), "paused", "nothing was noted");
    bed.isula("unpause works").ok();
    bed.isula("stop -t 0 works").ok();
    assert_eq!(bed.inspect("works", "/State/Status"), "exited");
    bed.isula("rm works").ok();
    let ids = bed.isula("ps -aq").ok();
    bed.isula(&format!("rm {}", ids.replace('\n', " "))).ok();
    bed.isula("rmi kept:v1 many:v1").ok();
    let world = World::of(bed);
    assert!(world.images.is_empty() && world.containers.is_empty(), "{world:#?}");
    world.await_tidiness(bed);
    bed.stop();
    disk.unmount();
}

fn a_full_disk_does_not_choose_the_driver(bed: &mut Bed) {
    rootfs::small_disk(&bed.graph(), 16 << 10);
    bed.own_mounts();
    bed.launch(&[]);
    let filler = stage::fill(&bed.graph(), 0);
    // Whether overlayfs works cannot be tried now.
    assert!(!bed.isula("info").ok().contains("Storage Driver: vfs"));
    fs::remove_file(filler).unwrap();
    contains(&bed.isula("info").ok(), "Storage Driver: overlay");
}
