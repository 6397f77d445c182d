//! The gate in front of a core: it keeps the suite from using what the core says it does not have,
//! and notes what was needed.
//!
//! What a check or a scenario finds after that is no finding about the core: its rules are skipped
//! under the name of the missing capability.

use std::sync::Arc;

use async_trait::async_trait;
use contract::*;
use tokio::sync::OnceCell;

use crate::missing::Missing;

/// A core behind the gate.
pub(crate) struct CapabilityGate {
    core: Arc<dyn ReplicationCore>,
    missing: Missing,
    operations: OnceCell<Vec<Operation>>,
}

impl CapabilityGate {
    /// Puts the gate in front of a core. What is missing is noted in `missing`.
    pub(crate) fn wrap(core: Arc<dyn ReplicationCore>, missing: &Missing) -> Arc<dyn ReplicationCore> {
        Arc::new(Self { core, missing: missing.clone(), operations: OnceCell::new() })
    }

    /// Refuses an operation that the core does not have.
    async fn admit(&self, needed: Option<Operation>) -> Result<(), CoreError> {
        let Some(operation) = needed else { return Ok(()) };
        let ask = || async { Ok(self.core.capabilities().await?.operations) };
        let operations: &Vec<Operation> = self.operations.get_or_try_init::<CoreError, _, _>(ask).await?;
        if operations.contains(&operation) {
            return Ok(());
        }
        let name = operation_name(operation);
        self.missing.note(&name);
        Err(CoreError::new(ErrorCode::NotSupported, crate::missing::why(&name)))
    }

    /// Notes that the core does not have a method that belongs to no operation. A core that lists
    /// an operation and does not support it breaks a rule, so that nothing is noted.
    fn note<T>(
        &self,
        method: &str,
        needed: Option<Operation>,
        answer: Result<T, CoreError>,
    ) -> Result<T, CoreError> {
        if let Err(error) = &answer {
            match error.code {
                ErrorCode::NotSupported if needed.is_none() => self.missing.note(method),
                ErrorCode::Protocol => self.missing.note_broken(&error.message),
                _ => {}
            }
        }
        answer
    }
}

/// The name of an operation, as capabilities list it.
pub(crate) fn operation_name(operation: Operation) -> String {
    let json = serde_json::to_value(operation).ok();
    json.and_then(|name| name.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

fn operation_of(kind: FailoverKind) -> Operation {
    match kind {
        FailoverKind::Planned => Operation::PlannedFailover,
        FailoverKind::Unplanned => Operation::UnplannedFailover,
    }
}

/// The operation that a method needs.
macro_rules! needed {
    ([] $($argument:ident)*) => {
        None
    };
    ([by kind] $request:ident) => {
        Some(operation_of($request.kind))
    };
    ([$operation:ident] $($argument:ident)*) => {
        Some(Operation::$operation)
    };
}

/// What a core lacks that refuses a method as not supported.
macro_rules! lacking {
    (enable_protection $request:ident) => {
        if $request.group.is_some() { "replication-groups" } else { "enable_protection" }
    };
    ($name:ident $($argument:ident)*) => {
        stringify!($name)
    };
}

macro_rules! gate {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        #[async_trait]
        impl ReplicationCore for CapabilityGate {$(
            async fn $name(&self, $($argument: $($type)+),*) -> Result<$($result)+, CoreError> {
                let needed = needed!($needs $($argument)*);
                self.admit(needed).await?;
                self.note(lacking!($name $($argument)*), needed, self.core.$name($($argument),*).await)
            }
        )+}
    };
}
wire::core_methods!(gate);
