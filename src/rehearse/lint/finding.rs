//! A finding: which rule, where, what is wrong there, and how to fix it.

use serde::Serialize;

use super::rules::{Rule, Severity};

/// A position in a file; lines and columns are counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// The beginning of a line.
    #[must_use]
    pub fn line(line: usize) -> Position {
        Position { line, column: 1 }
    }
}

/// A value and its position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Spot<T> {
    pub(crate) value: T,
    pub(crate) place: Position,
}

impl<T> Spot<T> {
    pub(crate) fn new(value: T, place: Position) -> Spot<T> {
        Spot { value, place }
    }
}

/// One finding of a rule.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    #[serde(serialize_with = "as_id")]
    pub rule: Rule,
    pub severity: Severity,
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// Which object of the file: `Deployment my-app, container web`.
    pub object: String,
    /// What is wrong there.
    pub message: String,
    /// How to fix it.
    pub remedy: String,
}

fn as_id<S: serde::Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(rule.id())
}

/// The findings so far, while the rules run.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) found: Vec<Finding>,
    /// How many containers, services and images were checked.
    pub(crate) services: usize,
}

/// What a finding is about: the file and the object in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ObjectRef {
    pub(crate) file: String,
    pub(crate) object: String,
}

impl Findings {
    /// Adds a finding with the rule's usual severity and remedy.
    pub(crate) fn add(
        &mut self,
        rule: Rule,
        subject: &ObjectRef,
        place: Position,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.found.push(Finding {
            rule,
            severity: rule.severity(),
            file: subject.file.clone(),
            line: place.line,
            column: place.column,
            object: subject.object.clone(),
            message: message.into(),
            remedy: rule.remedy().to_owned(),
        });
        self.found.last_mut().expect("it was just put there")
    }
}

impl Finding {
    /// Sets a remedy for this case only.
    pub(crate) fn remedy(&mut self, remedy: impl Into<String>) -> &mut Finding {
        self.remedy = remedy.into();
        self
    }

    /// Sets a severity other than the rule's usual one.
    pub(crate) fn weigh(&mut self, severity: Severity) -> &mut Finding {
        self.severity = severity;
        self
    }
}
