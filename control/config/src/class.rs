//! How a change is told to operators: class, category, reach and a reason.

use serde::Serialize;

macro_rules! labelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            pub fn label(self) -> &'static str {
                match self { $($name::$variant => $label,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.label())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.label())
            }
        }
    };
}

labelled! {
    /// What it takes to apply a change. Ordered: a plan is of the class of its worst change.
    Class {
        /// Applied to the running pool; no client notices.
        Soft = "soft";
        /// Needs a controlled restart of the pool, because it changes how the pool was created.
        Hard = "hard";
        /// Needs a restart of the appliance.
        Process = "process";
    }
}

labelled! {
    /// The part of the configuration, as operators of such appliances name it.
    Category {
        Rules = "lbRules";
        Backends = "lbBackends";
        HealthChecks = "lbHealthChecks";
        RateLimits = "rateLimits";
        Timeouts = "timeouts";
        Listen = "listen";
        Log = "log";
        Reload = "reload";
        Creation = "creationConfig";
        Process = "process";
    }
}

labelled! {
    /// When a change is first felt.
    Reach {
        Now = "now";
        NextTimerTick = "next timer tick";
        NextRequest = "next request";
        NextConnection = "next connection";
        NextSubmission = "next submission";
        PoolRestart = "pool restart";
        ApplianceRestart = "appliance restart";
    }
}

/// Why a change has its class, for machines and for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Reason {
    pub class: Class,
    pub category: Category,
    pub reach: Reach,
    #[serde(rename = "reason_code")]
    pub code: &'static str,
    /// One sentence.
    #[serde(rename = "reason")]
    pub sentence: &'static str,
}
