//! Regular expressions that cost what they look like.
//!
//! Owns the syntax (that of the `regex` crate, on bytes, without Unicode classes) and its bounds. A pattern is
//! searched for anywhere unless it says `^` and `$`, as in nginx and HAProxy.
//!
//! A pattern is compiled to a dense automaton, so a search reads each byte once, needs no memory and nothing that
//! shards would have to share: the engines of the `regex` crate keep caches, which are either locked or
//! multiplied by patterns and shards. What that costs is paid at compile time: an automaton that would not fit
//! [`Pattern::AUTOMATON_BYTES_MAX`] is refused. Groups are found by a second engine, which only a rule that has
//! matched and uses them asks, with memory that it borrows.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, pikevm};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Input, util::syntax};
use regex_syntax::hir::{Hir, HirKind, Look};
use std::fmt;
use std::ops::Range;

/// One compiled expression.
pub struct Pattern {
    text: Box<str>,
    automaton: dense::DFA<Vec<u32>>,
    groups: pikevm::PikeVM,
    /// What every match begins with at the beginning of the text.
    start: Box<[u8]>,
}

/// Memory that finding groups borrows: one a shard.
#[derive(Debug, Default)]
pub struct GroupSearch {
    cache: Option<pikevm::Cache>,
    slots: Vec<Option<NonMaxUsize>>,
}

/// Why there is no such pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PatternError {
    TooLong {
        bytes: usize,
    },
    Syntax {
        /// What the parser says, on one line.
        message: String,
        /// The byte at which it says so, if it does.
        at: Option<usize>,
    },
    /// It is well-formed, but its automaton does not fit.
    TooLarge,
}

impl Pattern {
    /// An expression longer than this is a list of things that should be conditions of their own.
    pub const TEXT_BYTES_MAX: usize = 1_024;
    /// Of the automaton. `^/api/v\d+/[a-z]{1,20}$` takes some 10 KiB; counted repetition behind something that
    /// also fits what is counted (`a.{20}`) doubles it with each count, and ends here.
    pub const AUTOMATON_BYTES_MAX: usize = 256 << 10;
    /// Of what is needed to make it, freed after.
    const WORK_BYTES_MAX: usize = 4 << 20;
    const STATES_BYTES_MAX: usize = 512 << 10;
    const NESTING_MAX: u32 = 32;

    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > Pattern::TEXT_BYTES_MAX {
            return Err(PatternError::TooLong { bytes: text.len() });
        }
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(Pattern::NESTING_MAX);
        let hir = syntax::parse_with(text, &syntax).map_err(|error| syntax_error(&error))?;
        let states = thompson::Config::new().utf8(false).nfa_size_limit(Some(Pattern::STATES_BYTES_MAX));
        let too_large = |_| PatternError::TooLarge;
        let nfa = thompson::Compiler::new().configure(states).build_from_hir(&hir).map_err(too_large)?;
        let automaton = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(Pattern::AUTOMATON_BYTES_MAX))
            .determinize_size_limit(Some(Pattern::WORK_BYTES_MAX));
        let automaton = dense::Builder::new().configure(automaton).build_from_nfa(&nfa);
        Ok(Pattern {
            text: text.into(),
            automaton: automaton.map_err(|_| PatternError::TooLarge)?,
            groups: pikevm::PikeVM::new_from_nfa(nfa).map_err(|_| PatternError::TooLarge)?,
            start: literal_start(&hir).into(),
        })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Cost: one step a byte, until the first match is certain.
    pub fn is_match(&self, text: &[u8]) -> bool {
        let found = self.automaton.try_search_fwd(&Input::new(text).earliest(true));
        found.expect("an automaton without bytes to quit at searches to the end").is_some()
    }

    /// Where the leftmost match and its groups are; the match itself is group 0. Empty: there is none.
    ///
    /// Cost: O(bytes × states), some tens of nanoseconds a byte.
    pub fn groups<'m>(&self, text: &[u8], memory: &'m mut GroupSearch) -> impl Fn(usize) -> Option<Range<usize>> + 'm {
        let GroupSearch { cache, slots } = memory;
        let cache = match cache {
            Some(cache) => {
                cache.reset(&self.groups);
                cache
            }
            None => cache.insert(self.groups.create_cache()),
        };
        slots.clear();
        slots.resize(2 * self.group_count(), None);
        self.groups.search_slots(cache, &Input::new(text), slots);
        |group| {
            let at = |slot: usize| slots.get(slot).copied().flatten().map(NonMaxUsize::get);
            at(2 * group).zip(at(2 * group + 1)).map(|(begin, end)| begin..end)
        }
    }

    /// The whole match is one of them.
    pub fn group_count(&self) -> usize {
        self.groups.get_nfa().group_info().group_len(regex_automata::PatternID::ZERO)
    }

    /// Groups that have a name.
    pub fn group_names(&self) -> impl Iterator<Item = (usize, &str)> {
        let names = self.groups.get_nfa().group_info().pattern_names(regex_automata::PatternID::ZERO);
        names.enumerate().filter_map(|(group, name)| Some((group, name?)))
    }

    /// The group of this name or number.
    pub fn group(&self, name: &str) -> Option<usize> {
        let number = name.parse().ok().filter(|group| *group < self.group_count());
        let named = || self.groups.get_nfa().group_info().to_index(regex_automata::PatternID::ZERO, name);
        number.or_else(named)
    }

    /// What every text with a match begins with. Empty: that is not known.
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// Heap bytes.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.automaton.memory_usage() + self.groups.get_nfa().memory_usage()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.text)
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::TooLong { bytes } => {
                write!(f, "the expression has {bytes} bytes, at most {} are accepted", Pattern::TEXT_BYTES_MAX)
            }
            PatternError::Syntax { message, .. } => f.write_str(message),
            PatternError::TooLarge => write!(
                f,
                "the expression needs an automaton of more than {} KiB; large counts (`.{{100}}`) are the usual \
                 reason, and `*`, `+` or a smaller count are accepted",
                Pattern::AUTOMATON_BYTES_MAX >> 10
            ),
        }
    }
}

/// Literals behind a `^` at the very beginning.
fn literal_start(hir: &Hir) -> &[u8] {
    let HirKind::Concat(parts) = hir.kind() else {
        return b"";
    };
    match parts.iter().map(Hir::kind).collect::<Vec<_>>()[..] {
        [HirKind::Look(Look::Start), HirKind::Literal(literal), ..] => &literal.0,
        _ => b"",
    }
}

/// The parser draws its errors over several lines, the last of which says what is wrong.
fn syntax_error(error: &regex_syntax::Error) -> PatternError {
    let at = match error {
        regex_syntax::Error::Parse(error) => Some(error.span().start.offset),
        regex_syntax::Error::Translate(error) => Some(error.span().start.offset),
        _ => None,
    };
    let drawn = error.to_string();
    let last = drawn.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    PatternError::Syntax { message: last.trim().trim_start_matches("error: ").to_owned(), at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(Pattern::new(pattern).unwrap().is_match(text.as_bytes()), expected, "{pattern} in {text}");
    }

    #[test]
    fn a_pattern_is_found_anywhere_unless_it_says_where() {
        check("b", "abc", true);
        check("^b", "abc", false);
        check("^/a$", "/a", true);
        check("^/a$", "/a/b", false);
        check(r"\.php$", "/x/y.php", true);
        check(r"(?i)^/ADMIN\b", "/admin/x", true);
        check(r"(?i)^/ADMIN\b", "/administrator", false);
        check("", "", true);
        check(r"^\d+$", "12a", false);
    }

    #[test]
    fn what_is_not_accepted_says_why() {
        let refused = |pattern: &str| Pattern::new(pattern).unwrap_err();
        assert!(matches!(refused("(a"), PatternError::Syntax { message, at: Some(0) } if message == "unclosed group"));
        assert!(matches!(refused(r"\p{Greek}"), PatternError::Syntax { .. }));
        assert_eq!(refused("(a|b)*a(a|b){20}"), PatternError::TooLarge);
        assert_eq!(refused("((a{100}){100}){100}"), PatternError::TooLarge);
        assert_eq!(refused(&"a".repeat(1_025)), PatternError::TooLong { bytes: 1_025 });
        assert!(matches!(refused(&"(".repeat(500)), PatternError::Syntax { .. }));
        assert!(matches!(refused(&("(".repeat(50) + &")".repeat(50))), PatternError::Syntax { .. }));
    }

    #[test]
    fn groups_are_found_with_memory_of_another_pattern() {
        let mut memory = GroupSearch::default();
        let mut check = |pattern: &str, text: &str, expected: &[Option<&str>]| {
            let pattern = Pattern::new(pattern).unwrap();
            let groups = pattern.groups(text.as_bytes(), &mut memory);
            let found: Vec<_> = (0..expected.len()).map(|group| groups(group).map(|at| &text[at])).collect();
            assert_eq!(found, expected);
        };
        check("^/(a+)/(?<rest>.*)$", "/aa/b/c", &[Some("/aa/b/c"), Some("aa"), Some("b/c"), None]);
        check("x", "abc", &[None, None]);
        check("(a)|(b)", "cb", &[Some("b"), None, Some("b")]);
    }

    #[test]
    fn groups_have_names_and_numbers() {
        let pattern = Pattern::new("(a)(?<rest>b)").unwrap();
        let found = ["0", "1", "2", "3", "rest", "other"].map(|name| pattern.group(name));
        assert_eq!(found, [Some(0), Some(1), Some(2), None, Some(2), None]);
    }

    #[test]
    fn the_literal_start_is_known_where_it_is_certain() {
        let start = |pattern| String::from_utf8(Pattern::new(pattern).unwrap().start().to_vec()).unwrap();
        assert_eq!(start(r"^/api/v\d+"), "/api/v");
        assert_eq!(start("^/api/(a|b)"), "/api/");
        for unknown in ["/api", "^(?i)/api/x", "(?m)^/api", "^/a|^/b", "(^/a)?/b", "^[a-z]"] {
            let start = start(unknown);
            assert!(start.is_empty() || unknown.contains("(?i)") && start == "/", "{unknown}: {start}");
        }
    }
}
