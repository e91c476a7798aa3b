//! `control/README.md` says what the types say: its blocks are messages, its tables are complete.

use api::{Answer, Edit, ErrorCode, Order, Reply, Request};
use serde_json::Value;
use std::collections::BTreeSet;

const README: &str = include_str!("../../README.md");

/// Of every order, those that may stand in a transaction included.
fn names() -> BTreeSet<&'static str> {
    Order::NAMES.iter().chain(Edit::NAMES).copied().collect()
}

/// Fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let after_fences = README.split(&fence).skip(1);
    after_fences.map(|rest| rest.split_once("\n```").expect("a block has an end").0).collect()
}

fn messages(block: &str) -> Vec<Value> {
    let values = serde_json::Deserializer::from_str(block).into_iter();
    values.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error} in {block}"))
}

/// Each transcript: the question and its answers.
fn transcripts() -> Vec<(Request, Vec<Answer>)> {
    let transcript = |block| {
        let messages = messages(block);
        let (question, answers) = messages.split_first().expect("a block is not empty");
        (read_question(question), answers.iter().map(read_answer).collect())
    };
    blocks("json").into_iter().map(transcript).collect()
}

fn read_question(message: &Value) -> Request {
    let request = Request::decode(message.to_string().as_bytes())
        .unwrap_or_else(|rejected| panic!("{} in {message}", rejected.failure));
    assert_same(&request, message);
    request
}

fn read_answer(message: &Value) -> Answer {
    let answer = Answer::decode(message.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error} in {message}"));
    assert_same(&answer, message);
    answer
}

/// Written again, nothing is lost and nothing is added.
#[track_caller]
fn assert_same(typed: &impl serde::Serialize, message: &Value) {
    assert_eq!(&serde_json::to_value(typed).unwrap(), message);
}

#[test]
fn every_transcript_is_a_question_and_its_answers() {
    let transcripts = transcripts();
    assert!(transcripts.len() >= names().len());
    for (request, answers) in transcripts {
        let name = request.order.name();
        assert!(answers.iter().all(|answer| answer.id == request.id), "{name}");
        let finals = answers.iter().filter(|answer| answer.is_final()).count();
        let (expected, last) = match name {
            "events" => (0, None),
            _ => (1, answers.last()),
        };
        assert_eq!(finals, expected, "{name}");
        assert!(last.is_none_or(Answer::is_final), "{name}");
    }
}

#[test]
fn every_order_has_a_transcript() {
    let shown: BTreeSet<&str> = transcripts().iter().map(|(request, _)| request.order.name()).collect();
    assert_eq!(shown, names());
}

/// Rows of the first table after a heading, as (first cell, other cells).
fn table_after(heading: &str) -> Vec<(&'static str, &'static str)> {
    let (_, section) = README.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let end = section.find("\n#").unwrap_or(section.len());
    let rows = section[..end].lines().skip_while(|line| !line.starts_with("|---"));
    rows.skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').splitn(2, '|');
            (cells.next().unwrap().trim(), cells.next().unwrap().trim())
        })
        .collect()
}

/// What a mistaken message is told to be accepted: the words in backticks after `expected`.
fn expected_words(error: &str) -> BTreeSet<&str> {
    let (_, list) = error.rsplit_once("expected").unwrap_or(("", ""));
    list.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_field_of_every_order_is_in_its_table() {
    for name in names() {
        let mistaken = format!(r#"{{"order":"{name}","surprise":1}}"#);
        let rejected = Request::decode(mistaken.as_bytes()).expect_err(name);
        let accepted = expected_words(&rejected.failure.message);
        let documented = table_after(&format!("### `{name}`"));
        let documented: BTreeSet<&str> = documented
            .into_iter()
            .map(|(field, meaning)| {
                assert!(!meaning.is_empty(), "{name}: {field}");
                field.trim_matches(['*', '`'])
            })
            .collect();
        assert_eq!(documented, accepted, "{name}");
    }
}

#[test]
fn a_field_is_in_italics_exactly_if_it_may_be_left_out() {
    for (request, _) in transcripts() {
        let name = request.order.name();
        let whole = serde_json::to_value(&request).unwrap();
        for (field, _) in table_after(&format!("### `{name}`")) {
            let optional = field.starts_with('*');
            let field = field.trim_matches(['*', '`']);
            let mut without = whole.clone();
            if without.as_object_mut().unwrap().remove(field).is_none() {
                assert!(optional, "{name}: {field} is left out in a transcript");
            } else if !["check", "patch", "list.replace"].contains(&name) {
                // Those need one of two.
                let read = Request::decode(without.to_string().as_bytes());
                assert_eq!(read.is_ok(), optional, "{name}: {field}");
            }
        }
    }
}

#[test]
fn every_code_is_in_the_table_of_errors() {
    let documented = table_after("## Errors");
    let documented: BTreeSet<&str> = documented.iter().map(|(code, _)| code.trim_matches('`')).collect();
    assert_eq!(documented, ErrorCode::ALL.iter().map(|code| code.label()).collect());
    for code in ErrorCode::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.label());
    }
}

/// Words that `kind` or `event` accepts in this place, as the code says.
fn accepted(message: &str) -> BTreeSet<String> {
    let error = Answer::decode(message.as_bytes()).unwrap_err().to_string();
    expected_words(&error).into_iter().map(str::to_owned).collect()
}

/// Words under this name anywhere in the transcripts.
fn shown(name: &str, within: &[&str]) -> BTreeSet<String> {
    let answers = transcripts().into_iter().flat_map(|(_, answers)| answers);
    let mut words = BTreeSet::new();
    for answer in answers {
        let mut value = serde_json::to_value(answer).unwrap();
        for step in within {
            value = value[step].take();
        }
        words.extend(value[name].as_str().map(str::to_owned));
    }
    words
}

#[test]
fn every_kind_of_answer_is_shown() {
    let results = accepted(r#"{"status":"ok","result":{"kind":"?"}}"#);
    assert!(results.contains("receipt"));
    assert_eq!(shown("kind", &["result"]), results);

    let table = |heading| {
        let rows = table_after(heading).into_iter();
        rows.map(|(word, _)| word.trim_matches('`').to_owned()).collect::<BTreeSet<String>>()
    };
    let progress = accepted(r#"{"status":"processing","progress":{"kind":"?"}}"#);
    assert_eq!(shown("kind", &["progress"]), progress);
    assert_eq!(table("## Progress"), progress);

    let events =
        accepted(r#"{"status":"processing","progress":{"kind":"event","event":{"number":1,"time":"","event":"?"}}}"#);
    assert_eq!(shown("event", &["progress", "event"]), events);
    assert_eq!(table("## Events"), events);
}

#[test]
fn answers_to_come_are_understood_with_fields_not_known_yet() {
    let text = r#"{"id":1,"status":"ok","took":1,"result":{"kind":"version","version":"9","protocol":1,"build":"x"}}"#;
    let answer = Answer::decode(text.as_bytes()).unwrap();
    assert!(matches!(answer.reply, Reply::Ok { .. }));
}
