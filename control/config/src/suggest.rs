//! "Did you mean …": the closest of the names that exist.

/// The candidate nearest to `word` within a third of its letters, two at least.
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A word this long is no slip of the finger, and the distance costs the product of the lengths.
    const CHARACTERS_MAX: usize = 64;
    if word.len() > CHARACTERS_MAX {
        return None;
    }
    let tolerance = (word.chars().count() / 3).max(2);
    let candidates = candidates.into_iter().filter(|candidate| candidate.len() <= CHARACTERS_MAX);
    let distances = candidates.map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    // A distance as long as the word shares nothing with it.
    let near =
        distances.filter(|(distance, candidate)| *distance <= tolerance && *distance < word.len().max(candidate.len()));
    near.min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let names = ["weight", "backup", "drain", "max_connections", "id"];
        let suggest = |word| closest(word, names);
        assert_eq!(suggest("wieght"), Some("weight"));
        assert_eq!(suggest("max_conections"), Some("max_connections"));
        assert_eq!(suggest("drian"), Some("drain"));
        assert_eq!(suggest("xy"), None);
        assert_eq!(suggest("certificate"), None);
        assert_eq!(suggest(""), None);
        assert_eq!(suggest(&"w".repeat(10_000)), None);
    }
}
