//! What the engine's errors are to a client: one table from types to problems.

use serde_json::value::RawValue;

use crate::archive::ArchiveError;
use crate::backup::BackupError;
use crate::checkpoints::CheckpointError;
use crate::commands::CommandError;
use crate::event_schemas::DeclareError;
use crate::expected::{ExpectedVersion, VersionConflict};
use crate::json::JsonError;
use crate::modules::{ActivateError, LimitsError, UploadError};
use crate::names::NameError;
use crate::projections::{
    GuestQueryError, OperateError, PageError, PastError, QueryError, SettingsError,
};
use crate::runtime::{CompileError, GateError, GuestError, LoadError};
use crate::schemas::Violation;
use crate::storage::log::{AppendError, ReadError, Refusal};
use crate::storage::read_models::ReadModelError;

use super::error::{
    ACTIVATION_CLASH, ACTIVATION_REFUSED, ARCHIVE_FAILED, ARCHIVE_TAKEN, ARCHIVED, BODY_TOO_LARGE,
    BUILDING, CONDITION_FAILED, CONDITION_TOO_WIDE, CONTENDED, CORRUPTED, DISK_FULL,
    EVENT_ID_REUSED, Expected, Fault, INDEX_NEEDED, INVALID_BODY, INVALID_COMMAND, INVALID_JSON,
    INVALID_MODULE, INVALID_NAME, INVALID_PARAMETER, INVALID_SCHEMA, KEY_REUSED, Kind,
    MODULE_BROKEN, MODULE_FAULT, MODULE_LIMIT, MODULE_QUARANTINED, MODULE_THROTTLED,
    MODULE_TOO_COSTLY, More, NO_ARCHIVE, NOT_FOLDABLE, Needed, OUTCOME_UNKNOWN, PAST_FAILED,
    PROJECTION_STATE, Problem, QUERY_REFUSED, SCHEMA_BROKEN, SCHEMA_EXISTS, SCHEMA_VIOLATION,
    SHUTTING_DOWN, STILL_RUNNING, UNAVAILABLE, UNKNOWN_AGGREGATE, UNKNOWN_COMMAND, UNKNOWN_MODULE,
    UNKNOWN_PARKED, UNKNOWN_PROJECTION, UNKNOWN_QUERY, UNKNOWN_READ_MODEL, UNKNOWN_VERSION,
    VERSION_CONFLICT, VERSION_EXISTS,
};

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::new(&INVALID_NAME, error.to_string())
    }
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        let detail = format!("the body is not JSON that can be stored: {error}");
        let fault = Fault::at_byte(Some(error.offset), error.reason);
        Self::new(&INVALID_JSON, detail).with(More { errors: vec![fault], ..More::default() })
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::BeyondHead { .. } => {
                Self::new(&INVALID_PARAMETER, format!("the parameter \"after\": {error}"))
            }
            BackupError::Log(error) => error.into(),
            BackupError::Checkpoints(error) => error.into(),
            BackupError::Component(_) | BackupError::Io(_) => Self::internal(&error.to_string()),
        }
    }
}

impl From<CheckpointError> for Problem {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Log(error) => error.into(),
            CheckpointError::File(reason) => Self::internal(&reason),
            CheckpointError::BeyondHead { .. } | CheckpointError::NotCovered { .. } => {
                Self::new(&INVALID_PARAMETER, format!("the parameter \"size\": {error}"))
            }
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let detail = error.to_string();
        let of_module = |kind: &'static Kind, module: String, limit: Option<&'static str>| {
            let more = More { module: Some(module), limit, ..More::default() };
            Self::new(kind, detail.clone()).with(more)
        };
        match error {
            CommandError::UnknownAggregate(_) => Self::new(&UNKNOWN_AGGREGATE, detail),
            CommandError::UnknownCommand(_) => Self::new(&UNKNOWN_COMMAND, detail),
            CommandError::Invalid(_) => Self::new(&INVALID_COMMAND, detail),
            CommandError::Unfit { violations, .. } => {
                let fault = |found: Violation| Fault::at(found.pointer, found.detail);
                let errors = violations.into_iter().map(fault).collect();
                Self::new(&INVALID_COMMAND, detail).with(More { errors, ..More::default() })
            }
            CommandError::VersionConflict(VersionConflict { stream, expected, actual }) => {
                let more = More {
                    stream: Some(stream.to_string()),
                    expected: expected_version(expected),
                    actual: Some(actual),
                    ..More::default()
                };
                Self::new(&VERSION_CONFLICT, detail).with(more)
            }
            CommandError::ConditionFailed { position } => {
                let more = More { position: Some(position), ..More::default() };
                Self::new(&CONDITION_FAILED, detail).with(more)
            }
            CommandError::ConditionTooWide => Self::new(&CONDITION_TOO_WIDE, detail),
            CommandError::NotFoldable { stream, .. } => {
                let more = More { stream: Some(stream.to_string()), ..More::default() };
                Self::new(&NOT_FOLDABLE, detail).with(more)
            }
            CommandError::Contended { .. } => Self::new(&CONTENDED, detail),
            CommandError::KeyReused => Self::new(&KEY_REUSED, detail),
            CommandError::EventReused { .. } => Self::new(&EVENT_ID_REUSED, detail),
            CommandError::EventUnfit { .. } => Self::new(&SCHEMA_VIOLATION, detail),
            CommandError::StillRunning => Self::new(&STILL_RUNNING, detail),
            CommandError::ModuleFault { module, .. } => of_module(&MODULE_FAULT, module, None),
            CommandError::ModuleLimit { module, limit } => {
                of_module(&MODULE_LIMIT, module, Some(limit.name()))
            }
            CommandError::Quarantined { module, .. } => {
                of_module(&MODULE_QUARANTINED, module, None)
            }
            CommandError::Overloaded { module } => of_module(&MODULE_THROTTLED, module, None),
            CommandError::NotAccepted(refusal) => refusal.into(),
            CommandError::OutcomeUnknown(_) => Self::new(&OUTCOME_UNKNOWN, detail),
            CommandError::Unreadable(error) => error.into(),
            CommandError::ShuttingDown => Self::new(&SHUTTING_DOWN, detail),
        }
    }
}

fn expected_version(expected: ExpectedVersion) -> Option<Expected> {
    match expected {
        ExpectedVersion::Any => None,
        ExpectedVersion::NoStream => Some(Expected::Version(0)),
        ExpectedVersion::Exists => Some(Expected::Exists),
        ExpectedVersion::Exact(version) => Some(Expected::Version(version)),
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::DiskFull { .. } => &DISK_FULL,
            Refusal::Recovering(_) => &UNAVAILABLE,
            Refusal::Closed => &SHUTTING_DOWN,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::Damaged(_) => &CORRUPTED,
            ReadError::Unavailable(_) => &UNAVAILABLE,
            ReadError::Archived(_) => &ARCHIVED,
        };
        let needed = match &error {
            ReadError::Archived(away) => Some(Box::new(Needed {
                first_decision: away.first,
                last_decision: away.last,
                first_position: away.first_position,
                last_position: away.last_position,
                file: away.file.display().to_string(),
            })),
            _ => None,
        };
        Self::new(kind, error.to_string()).with(More { needed, ..More::default() })
    }
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        let kind = match error {
            ArchiveError::Log(error) => return error.into(),
            ArchiveError::NoPlace => &NO_ARCHIVE,
            ArchiveError::Taken(_) => &ARCHIVE_TAKEN,
            ArchiveError::Damaged(..) => &CORRUPTED,
            ArchiveError::Io(..) | ArchiveError::NotRecorded(_) => &ARCHIVE_FAILED,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ReadModelError> for Problem {
    fn from(error: ReadModelError) -> Self {
        Self::new(&CORRUPTED, error.to_string())
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let detail = error.to_string();
        match error {
            QueryError::Invalid(_) => Self::new(&INVALID_PARAMETER, detail),
            QueryError::TooWide { index, .. } => {
                let index = index.and_then(|index| RawValue::from_string(index).ok());
                let more = More { limit: Some("scan_rows"), index, ..More::default() };
                Self::new(&INDEX_NEEDED, detail).with(more)
            }
        }
    }
}

impl From<GuestQueryError> for Problem {
    fn from(error: GuestQueryError) -> Self {
        let detail = error.to_string();
        match error {
            GuestQueryError::Unknown(_) => Self::new(&UNKNOWN_QUERY, detail),
            GuestQueryError::Refused(_) => Self::new(&QUERY_REFUSED, detail),
            GuestQueryError::Guest(module, error) => {
                let (kind, limit) = match error {
                    GuestError::Limit(limit) => (&MODULE_LIMIT, Some(limit.name())),
                    GuestError::Trap(_) | GuestError::Instantiate(_) => (&MODULE_FAULT, None),
                };
                Self::new(kind, detail).with(More {
                    module: Some(module),
                    limit,
                    ..More::default()
                })
            }
            GuestQueryError::File(error) => error.into(),
        }
    }
}

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        let detail = error.to_string();
        match error {
            OperateError::Unknown(_) => Self::new(&UNKNOWN_PROJECTION, detail),
            OperateError::NotParked { .. } => Self::new(&UNKNOWN_PARKED, detail),
            OperateError::NotNow(_) | OperateError::Settings(SettingsError::TooMany) => {
                Self::new(&PROJECTION_STATE, detail)
            }
            OperateError::Settings(SettingsError::Log(AppendError::NotAccepted(refusal))) => {
                refusal.into()
            }
            OperateError::Settings(SettingsError::Log(_)) => Self::new(&OUTCOME_UNKNOWN, detail),
            OperateError::File(_) => Self::internal(&detail),
            OperateError::Log(error) => error.into(),
        }
    }
}

impl From<PastError> for Problem {
    fn from(error: PastError) -> Self {
        let detail = error.to_string();
        match error {
            PastError::Unknown => Self::new(&UNKNOWN_READ_MODEL, detail),
            PastError::Building { position, required }
            | PastError::NotYet { position, required, .. } => {
                let (position, required) = (Some(position), Some(required));
                Self::new(&BUILDING, detail).with(More { position, required, ..More::default() })
            }
            PastError::TooMany { .. } => Self::new(&BUILDING, detail)
                .with(More { limit: Some("past_models"), ..More::default() }),
            PastError::Failed(_) => Self::new(&PAST_FAILED, detail),
            PastError::Log(error) => error.into(),
        }
    }
}

impl From<PageError> for Problem {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Query(error) => error.into(),
            PageError::File(error) => error.into(),
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        let detail = error.to_string();
        match error {
            UploadError::Load(LoadError::TooLarge { .. }) => {
                let more = More { limit: Some("component_bytes"), ..More::default() };
                Self::new(&BODY_TOO_LARGE, detail).with(more)
            }
            UploadError::Manifest(error) => {
                let errors = error.0.into_iter().map(Fault::anywhere).collect();
                Self::new(&INVALID_MODULE, detail).with(More { errors, ..More::default() })
            }
            UploadError::Load(error) => load_problem(error, detail),
            UploadError::Guest(_) => Self::new(&INVALID_MODULE, detail),
            UploadError::VersionExists { name, version } => {
                let more = More { name: Some(name), version: Some(version), ..More::default() };
                Self::new(&VERSION_EXISTS, detail).with(more)
            }
            UploadError::Io(_) => Self::internal(&detail),
        }
    }
}

fn load_problem(error: LoadError, detail: String) -> Problem {
    match error {
        LoadError::Gate(GateError::TooMuch { limit, .. })
        | LoadError::Compile(CompileError::Cap { limit, .. }) => {
            let more = More { limit: Some(limit), ..More::default() };
            Problem::new(&MODULE_TOO_COSTLY, detail).with(more)
        }
        LoadError::Misfit(misfit) => {
            let errors = misfit.0.into_iter().map(Fault::anywhere).collect();
            Problem::new(&INVALID_MODULE, detail).with(More { errors, ..More::default() })
        }
        LoadError::Compile(CompileError::Unavailable(_)) => Problem::internal(&detail),
        _ => Problem::new(&INVALID_MODULE, detail),
    }
}

impl From<LimitsError> for Problem {
    fn from(error: LimitsError) -> Self {
        match error {
            LimitsError::Invalid(faults) => {
                let detail = "the body must be an object of limits; what is left out is as the \
                              server was started with";
                let faults = faults.into_iter().map(|(pointer, said)| Fault::at(pointer, said));
                let errors = faults.collect();
                Self::new(&INVALID_BODY, detail).with(More { errors, ..More::default() })
            }
            LimitsError::Activate(error) => error.into(),
        }
    }
}

impl From<DeclareError> for Problem {
    fn from(error: DeclareError) -> Self {
        let detail = error.to_string();
        match error {
            DeclareError::Invalid(_) | DeclareError::TooMany { .. } => {
                Self::new(&INVALID_SCHEMA, detail)
            }
            DeclareError::Exists => Self::new(&SCHEMA_EXISTS, detail),
            DeclareError::Broken(broken) => {
                let position = broken.first().map(|(position, _)| *position);
                let fault = |(position, found): (u64, Violation)| Fault {
                    position: Some(position),
                    ..Fault::at(found.pointer, found.detail)
                };
                let errors = broken.into_iter().map(fault).collect();
                Self::new(&SCHEMA_BROKEN, detail).with(More { position, errors, ..More::default() })
            }
            DeclareError::Left => Self::new(&SHUTTING_DOWN, detail),
            DeclareError::Read(error) => error.into(),
            DeclareError::Log(AppendError::NotAccepted(refusal)) => refusal.into(),
            DeclareError::Log(_) => Self::new(&OUTCOME_UNKNOWN, detail),
        }
    }
}

impl From<ActivateError> for Problem {
    fn from(error: ActivateError) -> Self {
        let detail = error.to_string();
        match error {
            ActivateError::UnknownModule(_) => Self::new(&UNKNOWN_MODULE, detail),
            ActivateError::UnknownVersion { .. } => Self::new(&UNKNOWN_VERSION, detail),
            ActivateError::Clash(_) => Self::new(&ACTIVATION_CLASH, detail),
            ActivateError::Refused(_) => Self::new(&ACTIVATION_REFUSED, detail),
            ActivateError::Broken(_) => Self::new(&MODULE_BROKEN, detail),
            ActivateError::Unreadable(error) => error.into(),
            ActivateError::Log(AppendError::NotAccepted(refusal)) => refusal.into(),
            ActivateError::Log(_) => Self::new(&OUTCOME_UNKNOWN, detail),
        }
    }
}
