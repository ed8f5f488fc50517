//! A random config: a base and a number of dimensions, each drawn by itself, so that one can be
//! taken out and the others stay as they are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hull_e2e::Spec;
use serde_json::{Value, json};

use crate::dimensions;
use crate::mutations::Mutation;
use crate::random::Random;
use crate::world::{Places, SOURCES, sources_of};

/// A random config, as its seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    /// What everything is drawn from.
    pub(crate) seed: u64,
    /// Dimensions that were taken out.
    pub(crate) dropped: BTreeSet<String>,
}

/// A config under construction, and what the probe is to look at.
#[derive(Debug, Clone)]
pub(crate) struct Draft<'a> {
    pub(crate) places: &'a Places,
    pub(crate) spec: Spec,
    /// The dimensions that changed something.
    pub(crate) used: Vec<String>,
    asks: Vec<String>,
    mutation: Option<&'a Mutation>,
}

impl Case {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            dropped: BTreeSet::new(),
        }
    }

    /// The same without one dimension.
    pub(crate) fn without(&self, dimension: &str) -> Self {
        let mut case = self.clone();
        case.dropped.insert(dimension.to_owned());
        case
    }

    /// Draws the config.
    pub(crate) fn draft<'a>(&self, places: &'a Places) -> Draft<'a> {
        let mut draft = Draft::base(places);
        for (name, dimension) in dimensions::all() {
            let mut random = Random::of(self.seed, &name);
            if !random.percent(dimension.percent) || self.dropped.contains(&name) {
                continue;
            }
            let before = draft.spec.clone();
            (dimension.apply)(&mut draft, &mut random);
            if draft.spec != before {
                draft.used.push(name);
            }
        }
        draft
    }
}

impl<'a> Draft<'a> {
    /// The smallest container: a mount namespace with a procfs, no rights, no device but the default
    /// ones.
    pub(crate) fn base(places: &'a Places) -> Self {
        let spec = Spec::new(["/probe"])
            .set("/mounts", json!([]))
            .set("/linux", json!({}))
            .set("/linux/namespaces", json!([{ "type": "mount" }]))
            .set(
                "/linux/resources/devices",
                json!([{ "allow": false, "access": "rwm" }]),
            )
            .set("/process/rlimits", json!([]))
            .set("/process/capabilities", json!({}));
        Self {
            places,
            spec,
            used: Vec::new(),
            asks: Vec::new(),
            mutation: None,
        }
    }

    /// Sets a value by its pointer.
    pub(crate) fn set(&mut self, pointer: &str, value: impl Into<Value>) {
        self.spec = self.spec.clone().set(pointer, value);
    }

    /// Takes a value out.
    pub(crate) fn unset(&mut self, pointer: &str) {
        self.spec = self.spec.clone().unset(pointer);
    }

    /// Adds a mount after the others.
    pub(crate) fn mount(&mut self, kind: &str, source: &str, destination: &str, options: &[&str]) {
        let mount = json!({
            "destination": destination, "type": kind, "source": source, "options": options,
        });
        self.set("/mounts/-", mount);
    }

    /// Whether it has a namespace of this type, and not by path.
    pub(crate) fn has_new_namespace(&self, kind: &str) -> bool {
        let namespaces = self.spec.json()["linux"]["namespaces"].as_array().unwrap();
        namespaces
            .iter()
            .any(|namespace| namespace["type"] == kind && namespace.get("path").is_none())
    }

    /// The value at a pointer, or null.
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        self.spec.json().pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Mounts a procfs, as nearly every container has one.
    pub(crate) fn proc(&mut self) {
        self.mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"]);
    }

    /// Adds a hook that writes down what it is given.
    pub(crate) fn hook(&mut self, kind: &str) {
        let script = format!("{{ pwd; env | sort; cat; echo; }} >> {SOURCES}/hook-{kind}");
        let hook = json!({ "path": "/bin/sh", "args": ["hook", "-c", script], "env": [] });
        self.set(&format!("/hooks/{kind}/-"), hook);
    }

    /// Whether the container's cgroups are mounted.
    pub(crate) fn has_cgroup_mount(&self) -> bool {
        let mounts = self.at("/mounts").as_array().into_iter().flatten();
        mounts.into_iter().any(|mount| mount["type"] == "cgroup")
    }

    /// Whether hull opens the sources of binds before there is a container: somebody in between does, who may
    /// shift owners, or is no user of the container's namespace yet.
    pub(crate) fn opens_binds_early(&self) -> bool {
        let mut mounts = self.at("/mounts").as_array().into_iter().flatten();
        let shifted = mounts.any(|mount| !mount["uidMappings"].is_null());
        shifted || self.has_new_namespace("user") || self.has_new_namespace("time")
    }

    /// Whether a mount is covered by a later one, as far as the text shows it.
    pub(crate) fn has_covered_mount(&self) -> bool {
        let mounts = self.at("/mounts").as_array().into_iter().flatten();
        let places: Vec<PathBuf> = mounts.map(|mount| plain(&mount["destination"])).collect();
        let covered = |(at, place): (usize, &PathBuf)| {
            places
                .iter()
                .skip(at + 1)
                .any(|later| place.starts_with(later))
        };
        places.iter().enumerate().any(covered)
    }

    /// Whether it lists a device that every container has.
    pub(crate) fn lists_default_device(&self) -> bool {
        const DEFAULTS: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
        let devices = self.at("/linux/devices").as_array().into_iter().flatten();
        let names = devices.filter_map(|device| device["path"].as_str()?.strip_prefix("/dev/"));
        names.into_iter().any(|name| DEFAULTS.contains(&name))
    }

    /// Has the probe look at a path.
    pub(crate) fn look(&mut self, path: &str) {
        self.asks.push(format!("look {path}"));
    }

    /// Has the probe print a file.
    pub(crate) fn read(&mut self, path: &str) {
        self.asks.push(format!("read {path}"));
    }

    /// What the probe is asked, a line each.
    pub(crate) fn ask(&self) -> String {
        self.asks.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The same with one mistake.
    pub(crate) fn mutated(mut self, mutation: &'a Mutation) -> Self {
        self.mutation = Some(mutation);
        self
    }

    /// The text of config.json for a container with this root file system and cgroup.
    pub(crate) fn config(&self, tree: &Path, group: &str) -> String {
        let spec = self
            .spec
            .clone()
            .set("/root/path", tree.display().to_string())
            .cgroup(group);
        let spec = self.mutation.map_or(spec.clone(), |one| one.apply(spec));
        let sources = sources_of(tree).display().to_string();
        spec.json().to_string().replace(SOURCES, &sources)
    }
}

/// A path with the links of the tests' root file system followed.
pub(crate) fn plain(path: &Value) -> PathBuf {
    let path = path.as_str().unwrap();
    let path = path.replace("/absolute-link", "/data/private");
    Path::new(&path.replace("/link", "/data")).to_owned()
}
