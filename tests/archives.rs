//! What unpacking takes: of the disk, of memory, of the page cache.

use crate::support::bed::Bed;
use crate::support::disk::LoopDevice;
use crate::support::rootfs::{self, Archive};
use crate::support::usage::Usage;
use crate::support::{IMAGE, oci};
use crate::{requires, tests};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

tests![
    a_layer_may_be_limited,
    a_full_disk_leaves_something_for_everybody_else,
    a_load_takes_little_memory_and_writes_once,
];

const MIB: u64 = 1 << 20;

fn gzip(path: &Path) -> PathBuf {
    let packed = path.with_extension("tar.gz");
    let out = fs::File::create(&packed).unwrap();
    assert!(Command::new("gzip").args(["-1", "-c"]).arg(path).stdout(out).status().unwrap().success());
    fs::remove_file(path).unwrap();
    packed
}

/// A few kilobytes that unpack to `mebibytes`.
fn bomb(bed: &Bed, mebibytes: usize) -> PathBuf {
    let path = bed.dir.join("bomb.tar");
    let mut tar = Archive::create(&path);
    tar.file("zeros", 0o644, &"\0".repeat(mebibytes << 20));
    tar.finish();
    gzip(&path)
}

/// Layers that the store has, and whatever else lies beside them.
fn layers(bed: &Bed) -> usize {
    ["overlay", "overlay-layers"]
        .iter()
        .map(|d| fs::read_dir(bed.graph().join("storage").join(d)).unwrap().count())
        .sum()
}

fn a_layer_may_be_limited(bed: &mut Bed) {
    bed.start_with(&["--max-layer-size", "4m"]);
    let before = layers(bed);
    let refused = "the layer takes more than the 4194304 bytes that max-layer-size allows";
    let zeros = bomb(bed, 5);
    bed.isula(&format!("import {} bomb", zeros.display())).fails(1, refused);
    // Nothing but entries; the same as a layer of an image.
    let path = bed.dir.join("many.tar");
    let mut tar = Archive::create(&path);
    (0..4 << 10).for_each(|n| tar.file(&format!("{n}"), 0o644, ""));
    tar.finish();
    bed.isula(&format!("import {} many", path.display())).ok();
    bed.isula("rmi many").ok();
    let mut tar = Archive::create(&path);
    (0..=4 << 10).for_each(|n| tar.file(&format!("{n}"), 0o644, ""));
    tar.finish();
    let many = gzip(&path);
    bed.isula(&format!("import {} many", many.display())).fails(1, refused);
    let layout = bed.dir.join("layout");
    oci::layout(&layout, &[&rootfs::archive(), &zeros], &["linux/amd64"], &serde_json::json!({}));
    bed.isula(&format!("load --tag bomb -i {}", oci::archive(&layout).display())).fails(1, refused);
    assert_eq!((layers(bed), bed.isula("images -q").ok().lines().count()), (before, 1));
    assert_eq!(bed.run("", "echo well"), "well");
}

fn a_full_disk_leaves_something_for_everybody_else(bed: &mut Bed) {
    rootfs::small_disk(&bed.graph(), 64 << 10);
    bed.own_mounts();
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let free = || statvfs(&bed.graph()).map(|s| s.blocks_available() * s.fragment_size()).unwrap();
    let (before, least) = (free(), AtomicU64::new(u64::MAX));
    let (zeros, many) = (bomb(bed, 100), bed.dir.join("many.tar"));
    let mut tar = Archive::create(&many);
    // Directories of a tmpfs take no blocks, inodes do run out.
    (0..40_000).for_each(|n| tar.file(&format!("{n}"), 0o644, ""));
    tar.finish();
    let layout = bed.dir.join("layout");
    oci::layout(&layout, &[&rootfs::archive(), &zeros], &["linux/amd64"], &serde_json::json!({}));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                least.fetch_min(free(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let imported = bed.isula(&format!("import {} bomb", zeros.display()));
        let loaded = bed.isula(&format!("load -i {}", oci::archive(&layout).display()));
        done.store(true, Ordering::Relaxed);
        imported.fails(1, "are kept free: no space left on device");
        loaded.fails(1, "no space left on device");
    });
    // Two hundredths of 64 MiB, and what is written between two looks.
    let least = least.into_inner();
    assert!((MIB..10 * MIB).contains(&least), "{least} bytes were free at least");
    crate::support::eventually("nothing is left of it", || free() + MIB / 8 >= before);
    bed.isula(&format!("import {} many", many.display())).fails(1, "inodes left");
    // Whoever fills the rest by hand finds the reserve, and the daemon lives on it.
    assert_eq!(bed.isula("stop -t 0 aa").ok(), "aa");
    bed.isula("start aa").ok();
    bed.isula("rm -f aa").ok();
    assert_eq!(bed.run("", "echo well"), "well");
    bed.isula("rmi -f many").fails(1, "No such image");
}

fn a_load_takes_little_memory_and_writes_once(bed: &mut Bed) {
    requires!(loop_ext4, fincore);
    let words = ["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
    let device = LoopDevice::ext4(&bed.dir.join("disk"), 512 * MIB, &words);
    fs::create_dir_all(bed.graph()).unwrap();
    mount(Some(device.path()), &bed.graph(), Some("ext4"), MsFlags::empty(), None::<&str>).unwrap();
    bed.own_mounts();
    bed.start();
    let large = bed.dir.join("large.tar");
    let mut tar = Archive::create(&large);
    let block: String =
        (0..2 * MIB as u32).map(|n| char::from(b' ' + (n.wrapping_mul(2_654_435_761) >> 27) as u8)).collect();
    (0..100).for_each(|n| tar.file(&format!("{n}"), 0o644, &block));
    tar.finish();
    let layout = bed.dir.join("layout");
    oci::layout(&layout, &[&large], &["linux/amd64"], &serde_json::json!({}));
    let archive = oci::archive(&layout);
    let usage = Usage::during(bed.pid(), &device, || {
        bed.applet("isula").args(["load", "--tag", "large", "-i"]).arg(&archive).spawn().unwrap()
    });
    assert!(usage.peak > 0 && usage.peak <= usage.idle + 8 * MIB, "{usage}");
    for bytes in [usage.by, usage.to] {
        assert!((200 * MIB..=210 * MIB).contains(&bytes), "{usage}, for 200 MiB");
    }
    let cached = Command::new("fincore").args(["--bytes", "--noheadings", "-o", "RES"]).arg(&archive).output().unwrap();
    let cached: u64 = String::from_utf8_lossy(&cached.stdout).trim().parse().unwrap();
    assert!(cached <= 8 * MIB, "{cached} bytes of the archive are left in the page cache");
    println!("{usage}; {cached} cached");
    bed.isula(&format!("rmi large {IMAGE}")).ok();
}
