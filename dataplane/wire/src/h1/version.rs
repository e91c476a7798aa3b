//! The version of a message, which says what its sender can be told.

/// HTTP/1.0 or HTTP/1.1; no other comes this way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    Http10,
    Http11,
}

impl Version {
    pub(crate) fn of_minor(minor: u8) -> Version {
        if minor == 0 { Version::Http10 } else { Version::Http11 }
    }

    pub fn text(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}
