//! `config::Config::edit` on patches of any kind, held against what JSON itself says of them.

use crate::files::{self, Files};
use crate::problems;
use config::{Config, Edit, PatchStep};
use serde_json::Value;
use std::sync::Arc;

/// A document as for [`crate::document`], a line `----`, and patches, one a line: an object is a merge patch (RFC 7396), an
/// array a JSON patch (RFC 6902). A line that is neither means nothing.
///
/// Each is made on what those before have made. Refused: with at least one error, and made again it is refused alike.
/// Taken: what comes out, written as TOML, reads as itself; pools that no line of the patch can mean are the same objects;
/// and a merge patch, made again, changes nothing more or is refused. All together they do what they do one by one, or are refused.
pub fn patch(data: &[u8]) {
    let (document, lines) = files::divided(data);
    let Ok(parsed) = Files::split(document).parse() else { return };
    let patches: Vec<Edit> = String::from_utf8_lossy(lines).lines().take(PATCHES_MAX).filter_map(read).collect();
    let mut config = parsed.config.clone();
    let mut all_taken = true;
    for patch in &patches {
        match made(&config, patch) {
            Some(new) => {
                reads_as_itself(&new);
                leaves_others_alone(&config, patch, &new);
                if matches!(patch, Edit::Merge(_)) {
                    // Refused where the patch has changed what a rule asks and so what it is called.
                    let again = made(&new, patch);
                    let same = again.as_ref().is_none_or(|again| again.hash() == new.hash());
                    assert!(same, "{patch:?}, made twice");
                }
                config = new;
            }
            None => all_taken = false,
        }
    }
    // One by one each must be a whole document; together only their end must be. So these may be taken where those
    // were not, and never the other way round.
    if all_taken {
        let together = parsed.config.edit(&patches, 2).unwrap_or_else(|refused| panic!("not all together: {refused}"));
        assert_eq!(together.config.hash(), config.hash(), "one by one, and together");
    }
}

/// More patches in a row show nothing that these do not.
const PATCHES_MAX: usize = 8;

/// `None`: it was refused.
fn made(config: &Config, patch: &Edit) -> Option<Config> {
    let twice = [(); 2].map(|()| config.edit(std::slice::from_ref(patch), 2));
    match twice {
        [Ok(edited), Ok(again)] => {
            assert!(edited.warnings.errors().is_empty());
            assert_eq!(edited.config.hash(), again.config.hash(), "made twice of the same");
            problems::of_edits(&edited.warnings);
            Some(edited.config)
        }
        [Err(refused), Err(again)] => {
            assert!(!refused.errors().is_empty());
            assert_eq!(refused.to_string(), again.to_string(), "refused twice");
            problems::of_patch(&refused);
            None
        }
        [one, other] => panic!("made twice of the same: {one:?}, then {other:?}"),
    }
}

fn read(line: &str) -> Option<Edit> {
    match serde_json::from_str(line).ok()? {
        Value::Object(fields) => Some(Edit::Merge(Value::Object(fields))),
        Value::Array(steps) => steps.into_iter().map(step).collect::<Option<_>>().map(Edit::Patch),
        _ => None,
    }
}

fn step(step: Value) -> Option<PatchStep> {
    let text = |name: &str| Some(step.get(name)?.as_str()?.to_owned());
    let (path, value) = (text("path")?, || step.get("value").cloned());
    Some(match step.get("op")?.as_str()? {
        "add" => PatchStep::Add { path, value: value()? },
        "remove" => PatchStep::Remove { path },
        "replace" => PatchStep::Replace { path, value: value()? },
        "move" => PatchStep::Move { from: text("from")?, path },
        "copy" => PatchStep::Copy { from: text("from")?, path },
        "test" => PatchStep::Test { path, value: value()? },
        _ => return None,
    })
}

fn reads_as_itself(config: &Config) {
    let text = config.to_toml();
    let again = files::parse_alone(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}")).config;
    assert_eq!(again.hash(), config.hash(), "{text}");
    assert_eq!(again.to_json(), config.to_json(), "{text}");
}

/// A pool whose name does not occur in the patch is the same object, unless a list is changed, which is in all that name it.
fn leaves_others_alone(old: &Config, patch: &Edit, new: &Config) {
    let text = format!("{patch:?}");
    let may_be_all = text.contains("list") || text.contains("\"/pool\"") || text.contains("path: \"\"");
    for (id, content) in old.pools.iter().filter(|(id, _)| !may_be_all && !text.contains(id.as_str())) {
        let same = new.pools.get(id).is_some_and(|new| Arc::ptr_eq(new, content));
        assert!(same, "`{id}` is another object after {text}");
    }
}
