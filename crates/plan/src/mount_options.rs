//! The option words of a mount, in the meaning of
//! [mount(8)](https://man7.org/linux/man-pages/man8/mount.8.html) and runc's extensions. Of words
//! that contradict each other the last one wins.

use hull_abi::{MountFlags, Propagation};

/// The words of one mount, sorted by who understands them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// Attributes of the mount itself.
    pub(crate) own: Attributes,
    /// Attributes of the whole tree.
    pub(crate) recursive: Attributes,
    /// Propagation, and whether it is meant for the whole tree.
    pub(crate) propagation: Option<(Propagation, bool)>,
    /// `bind` or `rbind`.
    pub(crate) bind: bool,
    /// `rbind`.
    pub(crate) recursive_bind: bool,
    /// `tmpcopyup`.
    pub(crate) tmpcopyup: bool,
    /// `idmap` (`false`), or `ridmap` (`true`), which is meant for the whole tree.
    pub(crate) id_map: Option<bool>,
    /// Flags of the superblock, which the kernel takes as flag parameters of fsconfig(2).
    pub(crate) superblock: Vec<String>,
    /// What only the file system understands.
    pub(crate) data: Vec<(String, Option<String>)>,
    /// Words that have no effect.
    pub(crate) ignored: Vec<String>,
}

/// Attributes to set and to clear.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) set: MountFlags,
    pub(crate) clear: MountFlags,
}

/// What a word does to the attributes.
#[derive(Clone, Copy)]
enum Change {
    Set(MountFlags),
    Clear(MountFlags),
    /// Choose a value of the access-time field.
    Atime(MountFlags),
    /// Back to the kernel's default access times, unless they are off altogether.
    DefaultAtime,
    /// The same, but the default is what it refuses: other times that were asked for stay.
    NotRelatime,
}

/// Sorts the words.
pub(crate) fn parse(words: &[String]) -> MountOptions {
    let mut options = MountOptions::default();
    for word in words {
        options.take(word);
    }
    options
}

// === impl MountOptions, Attributes ===

impl MountOptions {
    fn take(&mut self, word: &str) {
        if let Some(change) = attribute(word) {
            return self.own.apply(change);
        }
        if let Some(change) = word.strip_prefix('r').and_then(attribute) {
            return self.recursive.apply(change);
        }
        if let Some(propagation) = propagation(word) {
            self.propagation = Some(propagation);
            return;
        }
        match word {
            "" | "defaults" | "loud" | "silent" => {}
            "bind" => self.bind = true,
            "rbind" => {
                self.bind = true;
                self.recursive_bind = true;
            }
            "tmpcopyup" => self.tmpcopyup = true,
            "idmap" => self.id_map = Some(false),
            "ridmap" => self.id_map = Some(true),
            "sync" | "async" | "dirsync" | "lazytime" | "nolazytime" => {
                self.superblock.push(word.to_owned());
            }
            // Everything is mounted anew; mandatory locks have left the kernel (5.15).
            "remount" | "mand" | "nomand" => self.ignored.push(word.to_owned()),
            _ => self.data.push(match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            }),
        }
    }
}

impl Attributes {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Set(flag) => {
                self.set = self.set.with(flag);
                self.clear = self.clear.without(flag);
            }
            Change::Clear(flag) => {
                self.set = self.set.without(flag);
                self.clear = self.clear.with(flag);
            }
            Change::Atime(value) => {
                self.set = self.set.without(MountFlags::ATIME_MASK).with(value);
                self.clear = self.clear.with(MountFlags::ATIME_MASK);
            }
            Change::NotRelatime => {
                if !self.set.contains(MountFlags::STRICTATIME) {
                    self.apply(Change::DefaultAtime);
                }
            }
            Change::DefaultAtime => {
                if !self.set.contains(MountFlags::NOATIME) {
                    self.apply(Change::Atime(MountFlags::RELATIME));
                }
            }
        }
    }
}

/// Words for attributes; with an `r` in front they speak of the whole tree.
fn attribute(word: &str) -> Option<Change> {
    Some(match word {
        "ro" => Change::Set(MountFlags::RDONLY),
        "rw" => Change::Clear(MountFlags::RDONLY),
        "nosuid" => Change::Set(MountFlags::NOSUID),
        "suid" => Change::Clear(MountFlags::NOSUID),
        "nodev" => Change::Set(MountFlags::NODEV),
        "dev" => Change::Clear(MountFlags::NODEV),
        "noexec" => Change::Set(MountFlags::NOEXEC),
        "exec" => Change::Clear(MountFlags::NOEXEC),
        "nodiratime" => Change::Set(MountFlags::NODIRATIME),
        "diratime" => Change::Clear(MountFlags::NODIRATIME),
        "nosymfollow" => Change::Set(MountFlags::NOSYMFOLLOW),
        "symfollow" => Change::Clear(MountFlags::NOSYMFOLLOW),
        "noatime" => Change::Atime(MountFlags::NOATIME),
        "strictatime" => Change::Atime(MountFlags::STRICTATIME),
        "atime" | "relatime" => Change::Atime(MountFlags::RELATIME),
        "nostrictatime" => Change::DefaultAtime,
        "norelatime" => Change::NotRelatime,
        _ => return None,
    })
}

pub(crate) fn propagation(word: &str) -> Option<(Propagation, bool)> {
    let kind = |word: &str| match word {
        "private" => Some(Propagation::Private),
        "slave" => Some(Propagation::Slave),
        "shared" => Some(Propagation::Shared),
        "unbindable" => Some(Propagation::Unbindable),
        _ => None,
    };
    let own = kind(word).map(|kind| (kind, false));
    own.or_else(|| Some((word.strip_prefix('r').and_then(kind)?, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &str) -> MountOptions {
        let words: Vec<String> = list.split(' ').map(str::to_owned).collect();
        parse(&words)
    }

    fn attributes(set: MountFlags, clear: MountFlags) -> Attributes {
        Attributes { set, clear }
    }

    const NONE: MountFlags = MountFlags(0);

    #[test]
    fn every_attribute_word_and_its_recursive_form() {
        let atime = MountFlags::ATIME_MASK;
        for (word, set, clear) in [
            ("ro", MountFlags::RDONLY, NONE),
            ("rw", NONE, MountFlags::RDONLY),
            ("nosuid", MountFlags::NOSUID, NONE),
            ("suid", NONE, MountFlags::NOSUID),
            ("nodev", MountFlags::NODEV, NONE),
            ("dev", NONE, MountFlags::NODEV),
            ("noexec", MountFlags::NOEXEC, NONE),
            ("exec", NONE, MountFlags::NOEXEC),
            ("nodiratime", MountFlags::NODIRATIME, NONE),
            ("diratime", NONE, MountFlags::NODIRATIME),
            ("nosymfollow", MountFlags::NOSYMFOLLOW, NONE),
            ("symfollow", NONE, MountFlags::NOSYMFOLLOW),
            ("noatime", MountFlags::NOATIME, atime),
            ("atime", NONE, atime),
            ("relatime", NONE, atime),
            ("norelatime", NONE, atime),
            ("strictatime", MountFlags::STRICTATIME, atime),
            ("nostrictatime", NONE, atime),
        ] {
            let want = attributes(set, clear);
            assert_eq!(
                words(word),
                MountOptions {
                    own: want,
                    ..Default::default()
                },
                "{word}"
            );
            let recursive = MountOptions {
                recursive: want,
                ..Default::default()
            };
            assert_eq!(words(&format!("r{word}")), recursive, "r{word}");
        }
    }

    #[test]
    fn the_last_word_wins() {
        assert_eq!(words("ro rw").own, attributes(NONE, MountFlags::RDONLY));
        assert_eq!(words("rw ro").own, attributes(MountFlags::RDONLY, NONE));
        let atime = MountFlags::ATIME_MASK;
        assert_eq!(
            words("noatime strictatime").own,
            attributes(MountFlags::STRICTATIME, atime)
        );
        assert_eq!(words("strictatime relatime").own, attributes(NONE, atime));
        assert_eq!(
            words("strictatime norelatime").own,
            attributes(MountFlags::STRICTATIME, atime)
        );
        assert_eq!(
            words("noatime norelatime").own,
            attributes(MountFlags::NOATIME, atime)
        );
        assert_eq!(
            words("shared rslave").propagation,
            Some((Propagation::Slave, true))
        );
    }

    #[test]
    fn words_for_other_owners() {
        assert_eq!(words("bind").id_map, None);
        assert_eq!(words("bind idmap").id_map, Some(false));
        assert_eq!(words("rbind ridmap").id_map, Some(true));
    }

    #[test]
    fn propagation_words() {
        for (word, kind) in [
            ("private", Propagation::Private),
            ("slave", Propagation::Slave),
            ("shared", Propagation::Shared),
            ("unbindable", Propagation::Unbindable),
        ] {
            assert_eq!(words(word).propagation, Some((kind, false)));
            assert_eq!(words(&format!("r{word}")).propagation, Some((kind, true)));
        }
    }

    #[test]
    fn other_words_are_data_verbatim() {
        let options = words("size=64k newinstance lowerdir=a=b:c mode= rbind silent remount sync");
        let data = [
            ("size", Some("64k")),
            ("newinstance", None),
            ("lowerdir", Some("a=b:c")),
        ];
        let mut want: Vec<(String, Option<String>)> = data
            .map(|(key, value)| (key.to_owned(), value.map(str::to_owned)))
            .into();
        want.push(("mode".to_owned(), Some(String::new())));
        assert_eq!(options.data, want);
        assert!(options.bind && options.recursive_bind);
        assert_eq!(options.ignored, ["remount"]);
        assert_eq!(options.superblock, ["sync"]);
    }
}
