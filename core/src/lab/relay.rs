//! Distance without `sch_netem`: passes frames between two TAP devices and holds each for half of
//! the round trip.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use super::layout::{RELAY_FAR, RELAY_NEAR};

/// The longest frame: far above the devices' MTU, as the kernel may send unsplit ones.
const FRAME: usize = 65_536 + 64;
/// Frames on the way in one direction; as on a real link, more than that are dropped.
const IN_FLIGHT: usize = 20_000;

/// Runs until killed; the devices vanish with it.
pub fn serve(rtt: Duration) -> Result<(), Error> {
    let near = open_tap(RELAY_NEAR)?;
    let far = open_tap(RELAY_FAR)?;
    let half = rtt / 2;
    thread::scope(|scope| {
        let there = scope.spawn(|| carry(&near, &far, half));
        let back = scope.spawn(|| carry(&far, &near, half));
        there.join().and(back.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

mod ioctl {
    nix::ioctl_write_int!(tunsetiff, b'T', 202);
}

/// Opens /dev/net/tun as the TAP device `name`, made by this and gone when the file is closed.
fn open_tap(name: &str) -> Result<File, Error> {
    let path = "/dev/net/tun";
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(Error::io("open", path))?;
    // struct ifreq: 16 bytes of name, then the flags; 40 bytes in all on 64-bit machines.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = (nix::libc::IFF_TAP | nix::libc::IFF_NO_PI) as u16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads and writes one `struct ifreq`, which `request` is large enough for
    // and outlives.
    unsafe { ioctl::tunsetiff(file.as_raw_fd(), request.as_mut_ptr() as nix::libc::c_ulong) }
        .map_err(Error::system(format!("make the TAP device {name}")))?;
    Ok(file)
}

fn carry(from: &File, to: &File, half: Duration) -> Result<(), Error> {
    let (sender, receiver) = sync_channel(IN_FLIGHT);
    thread::scope(|scope| {
        scope.spawn(move || deliver(&receiver, to));
        take(from, &sender, half)
    })
}

/// Reads frames and notes when each is due.
fn take(mut from: &File, sender: &SyncSender<(Instant, Box<[u8]>)>, half: Duration) -> Result<(), Error> {
    let mut buffer = vec![0; FRAME];
    loop {
        match from.read(&mut buffer) {
            Ok(length) => {
                let _ = sender.try_send((Instant::now() + half, buffer[..length].into()));
            }
            // Until the device is up the kernel answers EIO or EBADFD.
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn deliver(receiver: &Receiver<(Instant, Box<[u8]>)>, mut to: &File) {
    // All frames wait equally long, so they are due in the order they came.
    while let Ok((due, frame)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A frame for a device that is down is lost, as on a wire.
        let _ = to.write(&frame);
    }
}
