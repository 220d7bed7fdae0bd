//! Hosts with a kernel of their own: a virtual machine by qemu, where a host of systemd-nspawn would lack what its kernel has not.
//!
//! Its root is the same tree as that of the other hosts, with Debian's kernel over it, written to a disk of its own when the host is
//! made. Without hardware to help (KVM) every instruction is translated: it boots in a minute and works ten times slower.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::apt::Sources;
use super::command::{command, run, succeeds};
use super::layout::{BRIDGE, LabHost, cache};
use super::process;
use super::{Error, OnProgress, Suite, base, mounts};

/// Raised when what is below changes, so that older kernels are made anew.
const RECIPE: &str = "1";
/// Of each host.
const MEMORY_MIB: u32 = 1024;
/// Of its disk, which takes no more room here than what is written to it.
const DISK: &str = "8G";
/// All that its root needs before it is there: the rest is on it.
const MODULES: &str = "virtio_pci\nvirtio_blk\nvirtio_net\next4\n";

/// The tree of Debian's kernel for virtual machines, which lies over the base root of `suite`.
pub fn kernel(suite: Suite) -> PathBuf {
    cache(&format!("{}-kernel", suite.name()))
}

fn partial_kernel(suite: Suite) -> PathBuf {
    cache(&format!("{}-kernel.partial", suite.name()))
}

/// Removes what a `lab up` that was killed had begun.
pub fn remove_partial() -> Result<(), Error> {
    Suite::value_variants().iter().try_for_each(|suite| mounts::remove_folder(&partial_kernel(*suite)))
}

/// Makes sure that the kernel of `suite` is there; its base root is.
pub fn ensure_kernel(suite: Suite, sources: &Sources, say: OnProgress) -> Result<(), Error> {
    let stamp = cache(&format!("{}-kernel.recipe", suite.name()));
    if fs::read_to_string(&stamp).is_ok_and(|recipe| recipe == RECIPE) && kernel(suite).join("boot").exists()
    {
        return Ok(());
    }
    say(&format!("fetching {}'s kernel for hosts that have their own, once", suite.name()));
    let partial = partial_kernel(suite);
    mounts::remove_folder(&partial)?;
    let _ = fs::remove_file(&stamp);
    let [upper, work, root] = ["upper", "work", "root"].map(|part| partial.join(part));
    for folder in [&upper, &work, &root] {
        fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
    }
    mounts::overlay(&[base::root(suite)], &upper, &work, &root)?;
    base::write_machine_settings(suite, sources, &root)?;
    install(&root, &["initramfs-tools"])?;
    let modules = root.join("etc/initramfs-tools/modules");
    fs::write(&modules, MODULES).map_err(Error::io("write", &modules))?;
    let settings = root.join("etc/initramfs-tools/conf.d/lab.conf");
    fs::write(&settings, "MODULES=list\n").map_err(Error::io("write", &settings))?;
    install(&root, &["linux-image-cloud-amd64"])?;
    mounts::unmount_below(&partial)?;
    mounts::remove_folder(&kernel(suite))?;
    fs::rename(&upper, kernel(suite)).map_err(Error::io("rename", &upper))?;
    mounts::remove_folder(&partial)?;
    fs::write(&stamp, RECIPE).map_err(Error::io("write", &stamp))
}

fn install(root: &Path, packages: &[&str]) -> Result<(), Error> {
    let at = root.display().to_string();
    let install = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-q",
        "-y",
        "--no-install-recommends",
        "install",
    ];
    run("chroot", &[&[at.as_str()], &install[..], packages].concat()).map(drop)
}

/// Writes the host's root, as it lies in its folder, to a disk of its own.
pub fn make_disk(host: LabHost) -> Result<(), Error> {
    let (root, disk) = (host.root().display().to_string(), host.disk().display().to_string());
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", &root, &disk, DISK]).map(drop)
}

/// Becomes the virtual machine of `host`, in a session of its own. Returns on failure only.
pub fn launch(host: LabHost, suite: Suite) -> Error {
    process::detach();
    if let Err(error) = make_interface(host) {
        return error;
    }
    let boot = |file: &str| kernel(suite).join(file).display().to_string();
    let number = host.address().octets()[3];
    let mut command = command(
        "qemu-system-x86_64",
        &[
            "-name",
            &host.machine(),
            "-machine",
            &format!("q35,accel={}", accelerator()),
            "-cpu",
            "max",
            "-m",
            &MEMORY_MIB.to_string(),
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-kernel",
            &boot("vmlinuz"),
            "-initrd",
            &boot("initrd.img"),
            // Nobody attacks it; what guards against that takes a third of the time of a translated processor.
            "-append",
            "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off quiet systemd.show_status=1",
            "-drive",
            // What the host has flushed is in this machine's memory: it outlives the host, not this machine.
            &format!("{},format=raw,if=virtio,cache=unsafe", host.disk_argument()),
            "-netdev",
            &format!("tap,id=net0,ifname={},script=no,downscript=no", host.interface()),
            "-device",
            &format!("virtio-net-pci,netdev=net0,mac=52:54:00:4d:00:{number:02x}"),
            "-device",
            "virtio-rng-pci",
        ],
    );
    Error::Start { program: "qemu-system-x86_64".into(), source: command.exec() }
}

/// KVM, where it is that of the processor itself: what a virtual machine offers its own guests in its place boots no kernel of Debian's.
fn accelerator() -> &'static str {
    let is_there = |path: &str| fs::exists(path).unwrap_or(false);
    let of_the_processor = ["/sys/module/kvm_intel", "/sys/module/kvm_amd"].into_iter().any(is_there);
    if of_the_processor && is_there("/dev/kvm") { "kvm:tcg" } else { "tcg" }
}

fn make_interface(host: LabHost) -> Result<(), Error> {
    remove_interface(host);
    let name = host.interface();
    run("ip", &["tuntap", "add", "dev", &name, "mode", "tap"])?;
    run("ip", &["link", "set", &name, "master", BRIDGE, "up"]).map(drop)
}

/// The interface of a virtual machine stays when its process is gone.
pub fn remove_interface(host: LabHost) {
    succeeds("ip", &["link", "del", &host.interface()]);
}
