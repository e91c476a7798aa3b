//! One of a few words.

use super::{Describe, Form, Shown, Wrong};
use crate::suggest;
use crate::tree::{Node, Value};
use serde_json::json;

/// Enums that are written as one of a few words.
pub(crate) trait Word: Copy + Sync + 'static {
    const ALL: &'static [Self];
    fn word(self) -> &'static str;
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// As it is written in the document.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl $crate::form::Word for $name {
            const ALL: &'static [$name] = &[$($name::$variant,)*];

            fn word(self) -> &'static str {
                $name::word(self)
            }
        }
    };
}
pub(crate) use words;

pub(crate) fn all_words<W: Word>() -> impl Iterator<Item = W> {
    W::ALL.iter().copied()
}

/// One of the words of `W`.
pub(crate) struct OneOf<W>(std::marker::PhantomData<fn() -> W>);

impl<W: Word> OneOf<W> {
    pub(crate) const fn words() -> OneOf<W> {
        OneOf(std::marker::PhantomData)
    }
}

impl<W: Word> Describe for OneOf<W> {
    fn kind(&self) -> &'static str {
        "word"
    }
    fn accepted(&self) -> String {
        let words: Vec<String> = W::ALL.iter().map(|word| format!("\"{}\"", word.word())).collect();
        words.join(", ")
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "enum": W::ALL.iter().map(|word| word.word()).collect::<Vec<_>>() })
    }
}

impl<W: Word> Form for OneOf<W> {
    type Value = W;

    fn read(&self, node: &Node) -> Result<W, Vec<Wrong>> {
        let Value::Text { text, .. } = &node.value else {
            return Err(vec![Wrong::kind(node, "a string")]);
        };
        W::ALL.iter().find(|word| word.word() == text).copied().ok_or_else(|| {
            let wrong = Wrong::value(node, "not one of the words that are accepted here");
            vec![match suggest::closest(text, W::ALL.iter().map(|word| word.word())) {
                Some(word) => wrong.help(format!("did you mean \"{word}\"?")),
                None => wrong,
            }]
        })
    }

    fn show(&self, word: &W) -> Shown {
        Shown::Text(word.word().into())
    }
}
