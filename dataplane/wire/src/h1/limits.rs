//! How large a message may be. Each limit has its [`Violation`](crate::h1::Violation).

/// Bounds on what one peer may send. All of them count bytes as they come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// A head from its first byte to the empty line, included.
    pub head_bytes: usize,
    /// The request line without its CRLF; what makes it long is the target.
    pub line_bytes: usize,
    /// Field lines of a head, and of a trailer section; at most [`FIELDS_MAX`], whatever stands here.
    pub fields: usize,
    pub name_bytes: usize,
    pub value_bytes: usize,
    /// A trailer section with its empty line.
    pub trailer_bytes: usize,
    /// Content of one message. A length that is announced counts when it is announced.
    pub body_bytes: u64,
}

/// Most field lines that can be asked for: their table stands on the stack while a head is read.
pub const FIELDS_MAX: usize = 256;

/// Options of all `Connection` fields of a message together. Each is looked for among all fields.
pub const CONNECTION_OPTIONS_MAX: usize = 32;

/// Bytes of chunk extensions in one message. They mean nothing to us, so they are but a way to make work (RFC
/// 9112 section 7.1.1).
pub const EXTENSION_BYTES_MAX: u16 = 4 << 10;

impl Limits {
    /// For requests. Others allow 8 KiB (nginx, Apache) to 60 KiB (Envoy) a head, and 100 fields are what Apache
    /// and HAProxy allow.
    pub const REQUEST: Limits = Limits {
        head_bytes: 32 << 10,
        line_bytes: 8 << 10,
        fields: 100,
        name_bytes: 256,
        value_bytes: 16 << 10,
        trailer_bytes: 8 << 10,
        body_bytes: u64::MAX,
    };

    /// For responses: origins are the operator's own and set large cookies.
    pub const RESPONSE: Limits = Limits { head_bytes: 64 << 10, fields: 200, ..Limits::REQUEST };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::REQUEST
    }
}
