//! Moving network devices into the network namespace of a container. All of them arrive, or none is
//! gone: whatever fails, those that had moved come back.

use crate::failure::{At, because};
use crate::step;
use hull_abi::{Blame, NetDevice, SetupError, Step};
use hull_sys::netlink::{Address, Device, Netlink};
use hull_sys::{Errno, fd, ns};
use std::fs::File;
use std::os::fd::OwnedFd;

const STEP: Step = Step::NetDevices;
/// How many numbers are tried for a template, as many as the kernel itself tries.
const MAX_NUMBER: u32 = 32_768;
/// `IFNAMSIZ` of `linux/if.h` without the NUL.
const LONGEST_NAME: usize = 15;

/// A network namespace: what it is called to move a device there, and who answers for it.
struct Namespace {
    file: File,
    netlink: Netlink,
}

/// Where devices come from, and where they go.
struct Way {
    from: Namespace,
    to: Namespace,
}

/// A device, and what it was before.
struct Moving<'a> {
    wanted: &'a NetDevice,
    found: Device,
    /// Of the addresses it keeps those that mean the same elsewhere.
    addresses: Vec<Address>,
    /// What it is inside, once it is there.
    arrived: Option<Device>,
}

/// Moves all devices into the namespace of the process behind `init`. This process stays in it.
pub(super) fn perform(devices: &[NetDevice], init: Option<OwnedFd>) -> Result<(), SetupError> {
    step::begin(STEP)?;
    let action = || "move network devices".to_owned();
    let init = init.ok_or_else(|| because(STEP, Blame::Hull, action(), "no process came"))?;
    let way = Way::to(init)?;
    let mut moving = devices
        .iter()
        .map(|device| way.find(device))
        .collect::<Result<Vec<_>, SetupError>>()?;
    let moved = moving
        .iter_mut()
        .try_for_each(|moving| way.take_over(moving));
    moved.map_err(|error| way.put_back(&moving, error))
}

impl Namespace {
    /// That of this process.
    fn present() -> Result<Self, Errno> {
        Ok(Self {
            file: File::open("/proc/thread-self/ns/net").map_err(|e| fd::errno(&e))?,
            netlink: Netlink::open()?,
        })
    }

    fn is(&self, other: &Self) -> Result<bool, Errno> {
        let id = |namespace: &Self| {
            let stat = nix::sys::stat::fstat(&namespace.file)?;
            Ok::<_, Errno>((stat.st_dev, stat.st_ino))
        };
        Ok(id(self)? == id(other)?)
    }
}

impl Way {
    fn to(init: OwnedFd) -> Result<Self, SetupError> {
        let action = || "join the container's network namespace".to_owned();
        let from = Namespace::present().at(STEP, action)?;
        ns::set(init, nix::libc::CLONE_NEWNET).at(STEP, action)?;
        let to = Namespace::present().at(STEP, action)?;
        if from.is(&to).at(STEP, action)? {
            let action = "move network devices".to_owned();
            let cause = "the container's network namespace is the runtime's own";
            return Err(because(STEP, Blame::Caller, action, cause));
        }
        Ok(Self { from, to })
    }

    /// Looks at a device and at what is in its way, before anything is moved.
    fn find<'a>(&self, wanted: &'a NetDevice) -> Result<Moving<'a>, SetupError> {
        let action = || describe(wanted);
        let found = match self.from.netlink.device(&wanted.host) {
            Err(Errno::ENODEV) => {
                let cause = "there is no such device in the runtime's network namespace";
                return Err(because(STEP, Blame::Caller, action(), cause));
            }
            other => other.at(STEP, action)?,
        };
        // The kernel would first move it and then fail to name it.
        if !wanted.is_template() && self.is_taken(&wanted.name).at(STEP, action)? {
            return Err(taken(wanted));
        }
        let mut addresses = self.from.netlink.addresses(found.index).at(STEP, action)?;
        addresses.retain(Address::is_permanent_and_global);
        Ok(Moving {
            wanted,
            found,
            addresses,
            arrived: None,
        })
    }

    fn is_taken(&self, name: &str) -> Result<bool, Errno> {
        match self.to.netlink.device(name) {
            Ok(_) => Ok(true),
            Err(Errno::ENODEV) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn take_over(&self, moving: &mut Moving<'_>) -> Result<(), SetupError> {
        let wanted = moving.wanted;
        let action = || describe(wanted);
        let name = self.free_name(wanted)?;
        let moved = self
            .from
            .netlink
            .move_to(moving.found.index, &self.to.file, &name);
        match moved {
            Err(Errno::EINVAL) => {
                let cause = "the kernel does not let this device leave its network namespace";
                return Err(because(STEP, Blame::Caller, action(), cause));
            }
            Err(Errno::EEXIST) => return Err(taken(wanted)),
            other => other.at(STEP, action)?,
        }
        let action = || format!("set up network device {name:?} of the container");
        let device = self.to.netlink.device(&name).at(STEP, action)?;
        moving.arrived = Some(device);
        furnish(&self.to.netlink, device, &moving.addresses)
            .and_then(|()| self.to.netlink.set_up(device.index))
            .at(STEP, action)
    }

    /// The name itself, or the first that a template makes and nobody has.
    fn free_name(&self, wanted: &NetDevice) -> Result<String, SetupError> {
        if !wanted.is_template() {
            return Ok(wanted.name.clone());
        }
        for number in 0..MAX_NUMBER {
            let name = wanted.name.replacen("%d", &number.to_string(), 1);
            if name.len() > LONGEST_NAME {
                break;
            }
            if !self.is_taken(&name).at(STEP, || describe(wanted))? {
                return Ok(name);
            }
        }
        Err(taken(wanted))
    }

    /// Puts everything back where it was, the last first. Gives the error, with what did not work of
    /// this.
    fn put_back(&self, moving: &[Moving<'_>], error: SetupError) -> SetupError {
        let put_back = |error: SetupError, moving: &Moving<'_>| match self.restore(moving) {
            Ok(()) => error,
            Err(errno) => {
                let (host, desc) = (&moving.wanted.host, errno.desc().to_lowercase());
                let cause = format!("{}; {host:?} could not be put back: {desc}", error.cause);
                SetupError { cause, ..error }
            }
        };
        moving.iter().rev().fold(error, put_back)
    }

    fn restore(&self, moving: &Moving<'_>) -> Result<(), Errno> {
        let host = &moving.wanted.host;
        let (here, there) = (&self.from.netlink, &self.to.netlink);
        let away = match (moving.arrived, here.device(host)) {
            (Some(arrived), _) => arrived,
            // It never left.
            (None, Ok(_)) => return Ok(()),
            // It left, but another got its new name in that moment.
            (None, Err(Errno::ENODEV)) => there.device(host)?,
            (None, Err(e)) => return Err(e),
        };
        there.move_to(away.index, &self.from.file, host)?;
        let back = here.device(host)?;
        furnish(here, back, &moving.addresses)?;
        if moving.found.up {
            here.set_up(back.index)?;
        }
        Ok(())
    }
}

/// Gives a device its addresses; one that it has already is as good.
fn furnish(netlink: &Netlink, device: Device, addresses: &[Address]) -> Result<(), Errno> {
    addresses
        .iter()
        .try_for_each(|address| match netlink.add_address(device.index, address) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(e) => Err(e),
        })
}

fn describe(wanted: &NetDevice) -> String {
    format!("move network device {:?} to {:?}", wanted.host, wanted.name)
}

fn taken(wanted: &NetDevice) -> SetupError {
    let cause = "the container's network namespace has a device of that name";
    because(STEP, Blame::Caller, describe(wanted), cause)
}
