//! Prefixes of addresses: how they are written, and the one spelling that each has.

use policy::http::Prefix;
use std::net::IpAddr;

pub(crate) const ACCEPTED: &str = "an address or prefix such as \"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\"";

/// An address without a length is itself alone.
pub(crate) fn parse(text: &str) -> Result<Prefix, String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| "neither an address nor a prefix of addresses".to_string())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let digits = |length: &&str| length.bytes().all(|byte| byte.is_ascii_digit());
    let length = match length {
        None => Some(bits),
        Some(length) => Some(length).filter(digits).and_then(|length| length.parse::<u8>().ok()),
    };
    length
        .and_then(|length| Prefix::new(address, length))
        .map(network)
        .ok_or_else(|| format!("the length of a prefix is a number from 0 to {bits} here"))
}

pub(crate) fn show(prefix: Prefix) -> String {
    let Prefix { address, length } = prefix;
    match address {
        IpAddr::V4(_) if length == 32 => address.to_string(),
        IpAddr::V6(_) if length == 128 => address.to_string(),
        _ => format!("{address}/{length}"),
    }
}

/// With the bits behind its length at zero.
pub(crate) fn network(Prefix { address, length }: Prefix) -> Prefix {
    let address = match address {
        IpAddr::V4(address) => {
            let mask = !u32::MAX.checked_shr(length.into()).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = !u128::MAX.checked_shr(length.into()).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    };
    Prefix { address, length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = parse(text).map_or_else(|message| format!("error: {message}"), show);
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn prefixes_have_one_spelling() {
        check("10.0.0.0/8", "10.0.0.0/8");
        check("10.1.2.3/8", "10.0.0.0/8");
        check("192.0.2.7", "192.0.2.7");
        check("192.0.2.7/32", "192.0.2.7");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("2001:DB8:0::1/32", "2001:db8::/32");
        check("::1", "::1");
        check("10.0.0.0/33", "error: the length of a prefix is a number from 0 to 32 here");
        check("10.0.0.0/+8", "error: the length of a prefix is a number from 0 to 32 here");
        check("10.0.0.0/", "error: the length of a prefix is a number from 0 to 32 here");
        check("10.0/8", "error: neither an address nor a prefix of addresses");
        check("", "error: neither an address nor a prefix of addresses");
    }
}
