//! What orders have changed while the appliance runs, seen from the document that it was given.

use crate::plan::PlannedChange;
use crate::receipt::{Author, Receipt};
use crate::status::ConfigSource;
use serde::{Deserialize, Serialize};

/// A runtime order's doing that a document does not say.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Undone {
    /// As in [`PlannedChange::path`].
    pub path: String,
    /// Absent: it is not remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
}

/// Who changed something while the appliance ran.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct By {
    pub job: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// The order, such as `backend.set`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// RFC 3339.
    pub submitted: String,
}

/// How what runs differs from the document that was given last, changes first made by orders since.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Drift {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The document that it is measured from.
    pub base: ConfigSource,
    /// Of that document.
    pub base_hash: String,
    /// From the document to what runs.
    pub changes: Vec<Drifted>,
}

/// One difference.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Drifted {
    #[serde(flatten)]
    pub change: PlannedChange,
    /// Absent: it is not remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
}

/// What orders have changed stands in the configuration file now.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Folded {
    /// Those in which something changed.
    pub files: Vec<FoldedFile>,
    /// The account of the file, which was read again. Absent: nothing was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Box<Receipt>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FoldedFile {
    pub path: String,
    /// On a dry run: all that would stand in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}
