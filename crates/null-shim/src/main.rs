//! A containerd shim that answers every request at once and runs nothing.
//!
//! The bench runs it as a peer: what a container takes with it is what containerd, its client and
//! a ttrpc server of the `containerd-shim` crate take by themselves. It mounts nothing, opens no
//! stream and starts no process; a "container" ends with status 0 the moment it is started. It
//! publishes the events that containerd expects, because to take them is a part of its work.

#![forbid(unsafe_code)]

mod events;
mod processes;
mod service;

use containerd_shim::util::write_address;
use containerd_shim::{Config, DeleteResponse, Error, Flags, Shim, StartOpts, publisher};

use service::{Null, Service};

impl Shim for Null {
    type T = Service;

    fn new(_runtime: &str, flags: &Flags, config: &mut Config) -> Self {
        // Nothing is logged, and there is no child to be reaped.
        config.no_setup_logger = true;
        config.no_reaper = true;
        config.no_sub_reaper = true;
        Self::new(&flags.namespace)
    }

    fn start_shim(&mut self, opts: StartOpts) -> Result<String, Error> {
        let grouping = opts.id.clone();
        let (_pid, address) = containerd_shim::spawn(opts, &grouping, Vec::new())?;
        // The server removes its socket by this file when it ends.
        write_address(&address)?;
        Ok(address)
    }

    fn delete_shim(&mut self) -> Result<DeleteResponse, Error> {
        Ok(DeleteResponse::new())
    }

    fn wait(&mut self) {
        self.exit.wait();
    }

    fn create_task_service(&self, publisher: publisher::RemotePublisher) -> Service {
        self.service(publisher)
    }
}

fn main() {
    containerd_shim::run::<Null>("io.containerd.hullnull.v1", None);
}
