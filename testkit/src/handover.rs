//! Starts a program as a user without rights, with what it could not open itself: sockets and a TUN device (sd_listen_fds(3)).
//!
//! ```text
//!   root: UDP 500, UDP 4500, a queue of a TUN device, a control socket, one of the status page
//!      └─► descriptors 3 to 7  ─► uid, gid  ─► exec PROGRAM    LISTEN_PID=.. LISTEN_FDS=5 LISTEN_FDNAMES=ike:nat:tun:control:http
//! ```

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use tun_rs::{DeviceBuilder, Layer};

use crate::netns::succeed;

/// What is handed over, and to whom.
#[derive(Debug, Clone)]
pub struct Handover {
    /// Name of the TUN device to make.
    pub device: String,
    /// Its MTU, octets.
    pub mtu: u16,
    /// Where UDP 500 and 4500 are bound.
    pub address: IpAddr,
    /// Where the control socket listens.
    pub control: PathBuf,
    /// Where the socket of the status page listens.
    pub http: PathBuf,
    /// User and group that the program runs as.
    pub user: u32,
}

impl Handover {
    /// These as the arguments that [`run`] reads, before those of the program.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let Self { device, mtu, address, control, http, user } = self;
        vec![
            device.into(),
            mtu.to_string().into(),
            address.to_string().into(),
            control.into(),
            http.into(),
            user.to_string().into(),
        ]
    }
}

/// Opens all in the network namespace of this process and becomes the program, which is named behind what
/// [`Handover::arguments`] made.
///
/// # Errors
/// If something cannot be opened, or the program not be run; it does not return otherwise.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<Infallible> {
    let mut next = |what| {
        let argument = arguments.next().with_context(|| format!("no {what}"))?;
        argument.into_string().ok().with_context(|| format!("{what} is no text"))
    };
    let handover = Handover {
        device: next("device")?,
        mtu: next("MTU")?.parse()?,
        address: next("address")?.parse()?,
        control: next("control socket")?.into(),
        http: next("socket of the page")?.into(),
        user: next("user")?.parse()?,
    };
    let program = next("program")?;
    let announced = announce(open(&handover)?)?;
    let error = Command::new(&program)
        .args(arguments)
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", announced.len().to_string())
        .env("LISTEN_FDNAMES", NAMES.join(":"))
        .gid(handover.user)
        .uid(handover.user)
        .exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}

/// In the order of [`NAMES`].
fn open(handover: &Handover) -> Result<[OwnedFd; 5]> {
    let Handover { device: name, mtu, address, control, http, user: _ } = handover;
    let ike = UdpSocket::bind((*address, 500)).context("UDP 500")?;
    let nat = UdpSocket::bind((*address, 4500)).context("UDP 4500")?;
    let builder = DeviceBuilder::new().name(name).layer(Layer::L3).offload(true);
    let device = builder.build_sync().with_context(|| format!("cannot make {name}"))?;
    let queue = device.as_fd().try_clone_to_owned()?;
    succeed(Command::new("ip").args(["link", "set", "dev", name, "mtu", &mtu.to_string(), "up"]))?;
    let control = UnixListener::bind(control).context("the control socket")?;
    let http = UnixListener::bind(http).context("the socket of the page")?;
    Ok([ike.into(), nat.into(), queue, control.into(), http.into()])
}

/// Moves them to the numbers from 3 on, where the program finds them.
fn announce(descriptors: [OwnedFd; 5]) -> Result<Vec<OwnedFd>> {
    let aside = descriptors.iter().map(|fd| fcntl_dupfd_cloexec(fd, ASIDE));
    let aside = aside.collect::<Result<Vec<_>, _>>()?;
    drop(descriptors);
    let mut announced = Vec::new();
    for (fd, number) in aside.iter().zip(FIRST..) {
        let fd = fcntl_dupfd_cloexec(fd, FIRST)?;
        ensure!(fd.as_raw_fd() == number, "descriptor {number} is taken");
        fcntl_setfd(&fd, FdFlags::empty())?;
        announced.push(fd);
    }
    Ok(announced)
}

const NAMES: [&str; 5] = ["ike", "nat", "tun", "control", "http"];

/// The first number of sd_listen_fds(3).
const FIRST: i32 = 3;

/// Beyond the numbers that are announced.
const ASIDE: i32 = 100;
