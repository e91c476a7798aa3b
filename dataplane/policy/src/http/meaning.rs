//! What an HTTP pool means, for [`PoolGeneration::meaning`]: what is in and what is out is said there.
//!
//! Here are the parts that others of this folder can see into; what keeps its parts to itself says them beside their
//! definition.

use super::affinity::HashOn;
use super::anchor::{Anchor, HostKey, PathKey, Step};
use super::condition::{Condition, HeaderTest, HostList, HostTest, PathTest, ValueTest};
use super::edits::{Edit, EditKind, Rewrite};
use super::eject::EjectPolicy;
use super::list::Lists;
use super::pattern::Pattern;
use super::retry::RetryPolicy;
use super::rule::{Action, Rule};
use super::rules::Turn;
use super::service::{GroupHttp, HttpService};
use super::source::SourceSet;
use crate::generation::{ContentHash, PoolGeneration};
use crate::ids::ListSlot;
use crate::meaning::{Names, Words};
use std::sync::Arc;
use wire::h1::Limits;

impl HttpService {
    pub(crate) fn say(&self, pool: &PoolGeneration, names: &Names, words: &mut Words) {
        let HttpService {
            rules,
            lists,
            sites,
            request,
            response,
            escaped_slash,
            upgrades,
            x_forwarded,
            forwarded,
            via,
            request_id,
            says_generation,
            pages,
        } = self;
        let order = Order { rules: rules.rules().iter().map(|(turn, rule)| (*turn, rule)).collect(), pool, lists };
        words.each(&order.rules, |words, (_, rule)| rule.say(&order, words));
        rules.index.say(&order, words);
        // Those that no rule names are kept for nobody, and count as well.
        let mut digests: Vec<ContentHash> = lists.iter().map(|(_, list)| list.digest()).collect();
        digests.sort();
        words.each(digests, Words::digest);
        sites.say(names, words);
        for limits in [request, response] {
            let Limits { head_bytes, line_bytes, fields, name_bytes, value_bytes, trailer_bytes, body_bytes } = *limits;
            for bound in [head_bytes, line_bytes, fields, name_bytes, value_bytes, trailer_bytes] {
                words.count(bound as u64);
            }
            words.count(body_bytes);
        }
        words.kind(*escaped_slash as u8);
        words.kind(*upgrades as u8);
        words.kind(*x_forwarded as u8);
        words.kind(*forwarded as u8);
        words.option(via.as_deref(), Words::text);
        words.flag(*request_id);
        words.flag(*says_generation);
        pages.say(words);
    }
}

/// Rules as they are asked, and what they lead to and name.
pub(super) struct Order<'a> {
    /// Turns rise.
    rules: Vec<(Turn, &'a Arc<Rule>)>,
    pool: &'a PoolGeneration,
    lists: &'a Lists,
}

impl Order<'_> {
    /// One that a place of the index leads to: the rule of its turn, or it is said what it is instead.
    pub fn candidate(&self, (turn, rule): &(Turn, Arc<Rule>), words: &mut Words) {
        let at = self.rules.binary_search_by_key(turn, |(turn, _)| *turn).ok();
        words.option(at, |words, at| words.count(at as u64));
        let hash = |rule: &Rule| {
            let mut words = Words::new();
            rule.say(self, &mut words);
            words.hash()
        };
        let asked = at.map(|at| self.rules[at].1);
        let is_other = asked.is_none_or(|asked| !Arc::ptr_eq(asked, rule) && hash(asked) != hash(rule));
        words.option(is_other.then(|| hash(rule)), Words::digest);
    }

    /// What is in it.
    fn list(&self, slot: ListSlot, words: &mut Words) {
        words.option(self.lists.find(slot), |words, list| words.digest(list.digest()));
    }
}

impl Rule {
    fn say(&self, order: &Order<'_>, words: &mut Words) {
        let Rule {
            id,
            order: number,
            action,
            when,
            anchors,
            captures,
            request_edits,
            response_edits,
            rewrite,
            host,
            tally: _,
        } = self;
        words.text(id);
        words.count(*number);
        match action {
            Action::Group(slot) => {
                words.kind(0);
                words.option(order.pool.group(*slot), |words, group| words.text(&group.id));
            }
            Action::Redirect { status, target } => {
                words.kind(1);
                words.count((*status).into());
                target.say(words);
            }
            Action::Respond { status, content_type, body } => {
                words.kind(2);
                words.count((*status).into());
                words.text(content_type);
                words.bytes(body);
            }
            Action::Deny { status } => {
                words.kind(3);
                words.count((*status).into());
            }
        }
        when.say(order, words);
        words.each(&**anchors, |words, anchor| anchor.say(words));
        words.count(*captures as u64);
        for edits in [request_edits, response_edits] {
            words.each(&**edits, |words, Edit { name, kind }| {
                words.text(name);
                match kind {
                    EditKind::Add(text) => {
                        words.kind(0);
                        text.say(words);
                    }
                    EditKind::Set(text) => {
                        words.kind(1);
                        text.say(words);
                    }
                    EditKind::Remove => words.kind(2),
                }
            });
        }
        words.option(rewrite.as_ref(), |words, rewrite| match rewrite {
            Rewrite::Prefix { from, to } => {
                words.kind(0);
                words.bytes(from);
                to.say(words);
            }
            Rewrite::Regex { pattern, to, first } => {
                words.kind(1);
                pattern.say(words);
                to.say(words);
                words.count(*first as u64);
            }
            Rewrite::Whole { to } => {
                words.kind(2);
                to.say(words);
            }
        });
        words.option(host.as_ref(), |words, host| host.say(words));
    }
}

impl Condition {
    fn say(&self, order: &Order<'_>, words: &mut Words) {
        match self {
            Condition::Host(test) => {
                words.kind(0);
                test.say(words);
            }
            Condition::Path(test) => {
                words.kind(1);
                test.say(words);
            }
            Condition::Method(methods) => {
                words.kind(2);
                methods.say(words);
            }
            Condition::Header(test) => {
                words.kind(3);
                test.say(order, words);
            }
            Condition::Query(test) => {
                words.kind(4);
                test.say(order, words);
            }
            Condition::Source(SourceSet { name, prefixes, lists }) => {
                words.kind(5);
                words.text(name);
                prefixes.say(words);
                words.each(&**lists, |words, slot| order.list(*slot, words));
            }
            Condition::HostList(HostList { slot, name }) => {
                words.kind(6);
                words.text(name);
                order.list(*slot, words);
            }
            Condition::All(all) => {
                words.kind(7);
                words.each(&**all, |words, one| one.say(order, words));
            }
            Condition::Any(all) => {
                words.kind(8);
                words.each(&**all, |words, one| one.say(order, words));
            }
            Condition::Not(one) => {
                words.kind(9);
                one.say(order, words);
            }
        }
    }
}

impl HostTest {
    fn say(&self, words: &mut Words) {
        let (kind, name) = match self {
            HostTest::Exact(name) => (0, name),
            HostTest::Below(suffix) => (1, suffix),
        };
        words.kind(kind);
        words.text(name);
    }
}

impl PathTest {
    fn say(&self, words: &mut Words) {
        match self {
            PathTest::Exact(path) => {
                words.kind(0);
                words.bytes(path);
            }
            PathTest::Prefix(path) => {
                words.kind(1);
                words.bytes(path);
            }
            PathTest::Template(template, numbers) => {
                words.kind(2);
                words.text(&template.to_string());
                words.each(&**numbers, |words, number| words.count(*number as u64));
            }
            PathTest::Regex(pattern, numbers) => {
                words.kind(3);
                pattern.say(words);
                words.each(&**numbers, |words, (group, number)| {
                    words.count(*group as u64);
                    words.count(*number as u64);
                });
            }
        }
    }
}

impl Pattern {
    /// Everything else of it follows from its text.
    fn say(&self, words: &mut Words) {
        words.text(self.as_str());
    }
}

impl HeaderTest {
    fn say(&self, order: &Order<'_>, words: &mut Words) {
        let HeaderTest { name, value } = self;
        words.text(name);
        match value {
            ValueTest::Present => words.kind(0),
            ValueTest::Absent => words.kind(1),
            ValueTest::Equals(value) => {
                words.kind(2);
                words.bytes(value);
            }
            ValueTest::Prefix(value) => {
                words.kind(3);
                words.bytes(value);
            }
            ValueTest::Regex(pattern) => {
                words.kind(4);
                pattern.say(words);
            }
            ValueTest::Listed(slot, name) => {
                words.kind(5);
                words.text(name);
                order.list(*slot, words);
            }
        }
    }
}

impl Anchor {
    fn say(&self, words: &mut Words) {
        let Anchor { host, path: PathKey { steps, open } } = self;
        match host {
            HostKey::Any => words.kind(0),
            HostKey::Below(suffix) => {
                words.kind(1);
                words.text(suffix);
            }
            HostKey::Exact(name) => {
                words.kind(2);
                words.text(name);
            }
        }
        words.each(&**steps, |words, step| match step {
            Step::Any => words.kind(0),
            Step::Literal(segment) => {
                words.kind(1);
                words.bytes(segment);
            }
        });
        words.flag(*open);
    }
}

impl GroupHttp {
    pub(crate) fn say(&self, words: &mut Words) {
        let GroupHttp { retry, eject, hash, idle_max, idle_timeout } = self;
        let RetryPolicy { attempts, per_mille, minimum_per_second, statuses } = retry;
        for number in [*attempts, *per_mille, *minimum_per_second] {
            words.count(number.into());
        }
        words.each(&**statuses, |words, status| words.count((*status).into()));
        words.option(eject.as_ref(), |words, eject| {
            let EjectPolicy { errors, base, longest, percent_max } = *eject;
            words.count(errors.into());
            words.time(base);
            words.time(longest);
            words.count(percent_max.into());
        });
        match hash {
            HashOn::Source => words.kind(0),
            HashOn::Header(name) => {
                words.kind(1);
                words.text(name);
            }
            HashOn::Cookie(name) => {
                words.kind(2);
                words.text(name);
            }
            HashOn::Path => words.kind(3),
        }
        words.count((*idle_max).into());
        words.time(*idle_timeout);
    }
}
