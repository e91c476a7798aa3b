//! Marks: what an answer says of the generations that had a hand in it. They must all be one.
//!
//! A test writes the same label into everything that a configuration decides: a field that is added to requests, one that
//! is added to answers, the name of the origin that is chosen. An answer with two labels mixes two generations.

use crate::http::client::Response;
use crate::http::failure::Failure;
use crate::http::received::{ORIGIN, Received};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Where a label stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mark {
    /// In this field of the answer.
    Answer(String),
    /// In this field of the request, as it reached the origin.
    Request(String),
    /// After the last `@` in the name of the origin.
    Origin,
}

/// What is checked of each answer.
#[derive(Clone, Default)]
pub struct Marks {
    marks: Vec<Mark>,
    /// The field in which the answer carries its generation, `<pool>@<number>`.
    generation: Option<String>,
    /// The label of each generation, as the first answer that named it had it.
    labels: Arc<Mutex<BTreeMap<String, String>>>,
}

/// The newest generation that one connection has seen. A connection never goes back.
#[derive(Clone, Default)]
pub struct Newest(Option<u64>);

impl Marks {
    /// Most generations whose labels are remembered.
    const GENERATIONS_MAX: usize = 100_000;

    pub fn new(marks: &[Mark]) -> Marks {
        Marks { marks: marks.to_vec(), ..Marks::default() }
    }

    /// Each answer must also name its generation in this field; one generation has one label, and on a connection
    /// none follows a newer one.
    pub fn with_generation(mut self, field: &str) -> Marks {
        self.generation = Some(field.to_owned());
        self
    }

    /// `received`: the account in the answer, if it has one; without it nothing is known of the request's fields.
    pub fn check(&self, response: &Response, received: Option<&Received>, newest: &mut Newest) -> Result<(), Failure> {
        let mut found: Vec<(String, &str)> = Vec::new();
        for mark in &self.marks {
            let (place, label) = match mark {
                Mark::Answer(field) => (format!("answer's {field}"), response.fields.first(field)),
                Mark::Request(field) => match received {
                    Some(received) => (format!("request's {field}"), received.fields.first(field)),
                    None => continue,
                },
                Mark::Origin => {
                    let name = response.fields.first(ORIGIN);
                    ("origin".to_owned(), name.and_then(|name| Some(name.rsplit_once('@')?.1)))
                }
            };
            let label = label.ok_or_else(|| Failure::MixedGenerations(format!("no label in {place}")))?;
            found.push((place, label));
        }
        if found.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            return Err(Failure::MixedGenerations(format!("{found:?}")));
        }
        match &self.generation {
            None => Ok(()),
            Some(field) => {
                let generation = response.fields.first(field);
                let generation = generation.ok_or_else(|| Failure::MixedGenerations(format!("no {field}")))?;
                self.check_label(generation, found.first().map_or("", |(_, label)| label))?;
                newest.check(generation)
            }
        }
    }

    fn check_label(&self, generation: &str, label: &str) -> Result<(), Failure> {
        let mut labels = self.labels.lock().expect("nobody panics while comparing");
        match labels.get(generation) {
            Some(known) if known == label => Ok(()),
            Some(known) => {
                Err(Failure::MixedGenerations(format!("generation {generation} was {known:?}, now it is {label:?}")))
            }
            None => {
                assert!(labels.len() < Marks::GENERATIONS_MAX, "too many generations to remember");
                labels.insert(generation.to_owned(), label.to_owned());
                Ok(())
            }
        }
    }
}

impl Newest {
    fn check(&mut self, generation: &str) -> Result<(), Failure> {
        let number = generation.rsplit('@').next().and_then(|number| number.parse::<u64>().ok());
        let now = number.ok_or_else(|| Failure::MixedGenerations(format!("{generation:?} is no generation")))?;
        match self.0.replace(now) {
            Some(before) if before > now => Err(Failure::OlderGeneration { before, now }),
            _ => Ok(()),
        }
    }
}
