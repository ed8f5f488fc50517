//! What the text of an error must be like.

use crate::target;

/// One clear line that names all the parts.
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn is_one_clear_line(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} does not name {part:?}");
    }
    // runc's own texts may be longer.
    if target::is_hull() {
        assert!(!text.trim().contains('\n'), "more than one line: {text:?}");
        assert!(
            !text.is_empty() && text.len() < 500,
            "{} bytes: {text:?}",
            text.len()
        );
    }
}
