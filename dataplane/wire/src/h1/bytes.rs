//! Which bytes may stand where, and lists of tokens: the grammar's leaves (RFC 9110 section 5.6).

/// `tchar`: what names, methods and options consist of (RFC 9110 section 5.6.2).
pub(crate) const fn is_tchar(byte: u8) -> bool {
    matches!(byte,
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_tchar(*byte))
}

/// What a field's value may hold: visible characters, blanks and `obs-text` (RFC 9110 section 5.5).
pub(crate) const fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

pub(crate) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `value` without blanks round it (`OWS`, RFC 9110 section 5.6.3).
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_blank(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_blank(*last)
    {
        value = rest;
    }
    value
}

/// The members of a comma-separated list, the empty ones left out (RFC 9110 section 5.6.1.2). Quotes are not
/// understood: for lists of tokens only.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// A number of decimal digits and nothing else. `Err(true)`: digits, but too many of them.
pub(crate) fn decimal(digits: &[u8]) -> Result<u64, bool> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(false);
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        value.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit - b'0'))).ok_or(true)
    })
}

/// What is seen of a path (RFC 3986 section 3.3), and `[ ] ^ ` { | }`, which browsers send as they are. Not `\`:
/// some origins read it as `/`.
pub(crate) const fn is_path(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'@'..=b'[' | b']'..=b'~')
}

/// As [`is_path`], with `?` and `\`, which browsers send in queries.
pub(crate) const fn is_query(byte: u8) -> bool {
    is_path(byte) || matches!(byte, b'?' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_and_a_query_may_hold() {
        for byte in 0..=u8::MAX {
            let refused = byte <= b' ' || byte >= 0x7f || b"\"#<>".contains(&byte);
            assert_eq!(is_query(byte), !refused, "{byte:#x}");
            assert_eq!(is_path(byte), !refused && !b"?\\".contains(&byte), "{byte:#x}");
        }
    }

    #[test]
    fn numbers_are_digits_and_fit() {
        let check = |digits: &str, expected| assert_eq!(decimal(digits.as_bytes()), expected, "{digits:?}");
        check("0", Ok(0));
        check("007", Ok(7));
        check("18446744073709551615", Ok(u64::MAX));
        check("18446744073709551616", Err(true));
        check("99999999999999999999999999", Err(true));
        check("", Err(false));
        check("+1", Err(false));
        check("-1", Err(false));
        check("1 ", Err(false));
        check("0x1", Err(false));
        check("1,1", Err(false));
    }

    #[test]
    fn members_of_lists() {
        let list = |value: &'static [u8]| members(value).collect::<Vec<_>>();
        assert_eq!(list(b"close"), [b"close"]);
        assert_eq!(list(b" ,\ta , ,b,"), [b"a", b"b"]);
        assert!(list(b" , ").is_empty());
    }
}
