//! What artifacts say of themselves.

use super::file;
use crate::{Kind, describe};

const ENGINE: &[u8] = b".wasmtime.engine\0";

/// An artifact with three sections: none, the names, and the engine's with this content.
fn elf(flags: u32, engine: &[u8]) -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\xc8");
    elf[0x30..0x34].copy_from_slice(&flags.to_le_bytes());
    let names = elf.len() as u64;
    elf.extend(b"\0");
    elf.extend(ENGINE);
    let content = elf.len() as u64;
    elf.extend(engine);
    let table = elf.len() as u64;
    elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    elf[0x3c..0x3e].copy_from_slice(&3_u16.to_le_bytes());
    elf[0x3e..0x40].copy_from_slice(&1_u16.to_le_bytes());
    for (name, offset, size) in [
        (0, 0, 0),
        (0, names, 18),
        (1_u32, content, engine.len() as u64),
    ] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&offset.to_le_bytes());
        header[0x20..0x28].copy_from_slice(&size.to_le_bytes());
        elf.extend(header);
    }
    elf
}

#[test]
fn kind_version_and_settings_are_read() {
    let module = describe(&file(&elf(1, b"\0\x0648.0.8settings"))).unwrap();
    assert_eq!(module.kind, Kind::Module);
    assert_eq!(module.version, "48.0.8");
    let component = describe(&file(&elf(2, b"\0\x0648.0.8settings"))).unwrap();
    assert_eq!(component.kind, Kind::Component);
    assert_eq!(component.engine, module.engine);
    for other in [&b"\0\x0648.0.8Settings"[..], b"\0\x0648.0.9settings"] {
        let other = describe(&file(&elf(1, other))).unwrap();
        assert_ne!(other.engine, module.engine);
    }
}

#[test]
fn what_is_laid_out_otherwise_is_not_described() {
    let whole = elf(1, b"\0\x0648.0.8settings");
    for length in 0..whole.len() {
        // Cut short anywhere; the last section's header is the last thing in it.
        assert_eq!(describe(&file(&whole[..length])), None, "{length}");
    }
    for bad in [
        elf(0, b"\0\x0648.0.8"),
        elf(1, b""),
        elf(1, b"\0"),
        elf(1, b"\x01\x0648.0.8"),
        elf(1, b"\0\xff48.0.8"),
        elf(1, b"\0\x02\xff\xfe"),
        elf(1, b"\0\x041\n.2"),
        elf(1, &vec![0; 65 << 10]),
    ] {
        assert_eq!(describe(&file(&bad)), None);
    }
    // Offsets and counts that lead nowhere.
    for at in [0x28, 0x3c, 0x3e] {
        let mut bad = whole.clone();
        bad[at..at + 2].copy_from_slice(&[0xff, 0xff]);
        let described = describe(&file(&bad));
        assert!(described.is_none() || at == 0x3c, "{at:#x}");
    }
    let mut bad = whole;
    bad[0x28..0x30].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(describe(&file(&bad)), None);
}
