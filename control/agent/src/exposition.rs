//! The Prometheus text format, version 0.0.4: families, samples, escapes. Knows no metric.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};

/// What a family's values do over time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    /// Quantiles, a sum and a count.
    Summary,
}

/// A text that grows family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family. All its samples come before the next family begins: the format asks for it, and
    /// the borrow holds it.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        write!(self.text, "\n# TYPE {name} {kind}\n").expect(INTO_MEMORY);
        Family { text: &mut self.text, name }
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

/// One metric name with its samples.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    pub fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) -> &mut Self {
        self.suffixed("", labels, value)
    }

    /// All samples of one summary.
    pub fn summary(
        &mut self,
        labels: &[(&str, &dyn Display)],
        quantiles: &[(&str, f64)],
        count: u64,
        sum: f64,
    ) -> &mut Self {
        for (quantile, value) in quantiles {
            let mut labels = labels.to_vec();
            labels.push(("quantile", quantile));
            self.sample(&labels, value);
        }
        self.suffixed("_sum", labels, sum).suffixed("_count", labels, count)
    }

    fn suffixed(&mut self, suffix: &str, labels: &[(&str, &dyn Display)], value: impl Display) -> &mut Self {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut before = '{';
        for (label, content) in labels {
            self.text.push(before);
            before = ',';
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(self.text, &content.to_string(), true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        writeln!(self.text, " {value}").expect(INTO_MEMORY);
        self
    }
}

const INTO_MEMORY: &str = "writing to memory cannot fail";

fn escape(out: &mut String, text: &str, quoted: bool) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quoted => out.push_str("\\\""),
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_text() {
        let mut text = Exposition::default();
        text.family("a_total", Kind::Counter, "Things\nthat \\ \"happen\".")
            .sample(&[], 1)
            .sample(&[("pool", &"db"), ("why", &"odd \"\\\n")], 2);
        text.family("b", Kind::Gauge, "Here.").sample(&[], 0.5);
        let expected = "# HELP a_total Things\\nthat \\\\ \"happen\".\n# TYPE a_total counter\na_total 1\n\
                        a_total{pool=\"db\",why=\"odd \\\"\\\\\\n\"} 2\n\
                        # HELP b Here.\n# TYPE b gauge\nb 0.5\n";
        let text = text.into_text();
        assert_eq!(text, expected);
        check(&text);
    }

    /// Every sample of a text, by name and labels; panics where the text breaks the format.
    #[track_caller]
    pub fn check(text: &str) -> BTreeMap<String, f64> {
        let mut samples = BTreeMap::new();
        let mut families = BTreeSet::new();
        let mut family: Option<(&str, &str)> = None;
        assert!(text.ends_with('\n'), "the last line has no end");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("HELP without text");
                assert!(!help.is_empty(), "{name} has no help");
                assert!(families.insert(name), "{name} stands there twice");
                family = Some((name, ""));
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("TYPE without kind");
                assert_eq!(family.map(|family| family.0), Some(name), "TYPE without its HELP");
                assert!(["counter", "gauge", "summary"].contains(&kind));
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                family = Some((name, kind));
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("a sample without value");
                let name = sample.split('{').next().unwrap();
                let (of, kind) = family.expect("a sample before all families");
                let of_summary = ["_sum", "_count"].iter().any(|suffix| name.strip_suffix(suffix) == Some(of));
                assert!(name == of || kind == "summary" && of_summary, "{name}: a sample outside of its family");
                assert!(kind != "summary" || of_summary || sample.contains("quantile=\""), "{sample} is no quantile");
                let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
                assert!(name.chars().all(legal) && !name.starts_with(|c: char| c.is_ascii_digit()), "{name}");
                assert!(sample.contains('{') == sample.ends_with('}'), "labels without end: {sample}");
                let value: f64 = value.parse().expect("a value that is no number");
                assert!(samples.insert(sample.to_owned(), value).is_none(), "{sample} stands there twice");
            }
        }
        samples
    }
}
