//! Schemas of event types that hold for everybody: direct appends and what modules decide.
//!
//! Promises: once a schema was declared, no event of its type and version is recorded that does not
//! fit it, and none was before; it never changes, and holds again after a restart. While one is
//! tried against what is recorded it holds already, and ceases to if something breaks it, but not
//! where it is unknown whether it was declared.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};

use crate::decision::{ActRecord, Draft, Header, Kind, parse};
use crate::event::{NewEvent, RecordedEvent};
use crate::names::EventType;
use crate::query::{Query, QueryItem};
use crate::reads::{PageLimits, Span, log_page};
use crate::schemas::{EventSchema, SchemaLimits, Violation};
use crate::storage::log::{AppendError, Direction, Log, ReadError};
use crate::tasks;

/// The name of the act that declares one.
const ACT: &str = "event_schema";
/// Recorded events that break a schema which are named. 20: enough to see what is wrong.
const MOST_BROKEN: usize = 20;
/// Events between two reports of how far it is. 1,000: some milliseconds.
const TRIED_AT_ONCE: usize = 1_000;
/// Bytes of event data between two reports.
const TRIED_BYTES: usize = 8 << 20;

/// An event type and a version of its shape.
pub type SchemaName = (EventType, u32);

/// A schema that holds.
#[derive(Debug)]
pub struct Declared {
    /// What it is the schema of.
    pub name: SchemaName,
    /// The schema, as compact JSON.
    pub json: String,
    /// The record that declares it.
    pub decision: u64,
    /// When that was, in milliseconds since 1970.
    pub recorded_at_ms: u64,
}

/// Why no schema was declared.
#[derive(Clone, Debug)]
pub enum DeclareError {
    /// It cannot be used.
    Invalid(String),
    /// There is another one for the same type and version.
    Exists,
    /// There are as many as there may be.
    TooMany {
        /// How many that are.
        most: usize,
    },
    /// Recorded events do not fit it: the position of each, and what is wrong with it.
    Broken(Vec<(u64, Violation)>),
    /// Nobody waited for the end.
    Left,
    /// The log cannot be read.
    Read(ReadError),
    /// The log did not take the record.
    Log(AppendError),
}

impl std::fmt::Display for DeclareError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Invalid(reason) => write!(f, "the schema cannot be used: {reason}"),
            Self::Exists => f.write_str(
                "there is another schema for this type and version; a new shape is a new version",
            ),
            Self::TooMany { most } => write!(f, "a log may have {most} schemas (event_schemas)"),
            Self::Broken(broken) => {
                let first = broken.first().map_or(0, |(position, _)| *position);
                write!(
                    f,
                    "recorded events do not fit the schema, the first at position {first}; \
                     `errors` names them. Give the new shape a new version"
                )
            }
            Self::Left => f.write_str("nobody waited for the end"),
            Self::Read(error) => error.fmt(f),
            Self::Log(AppendError::NotAccepted(refusal)) => refusal.fmt(f),
            Self::Log(_) => f.write_str("whether it was recorded is unknown; ask again"),
        }
    }
}

impl std::error::Error for DeclareError {}

/// How far the trying is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    /// Events of the type that were tried.
    pub events: u64,
    /// Up to this position.
    pub position: u64,
    /// The last position to be tried.
    pub head: u64,
}

/// What was declared, or was there.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// The schema.
    pub declared: Arc<Declared>,
    /// Whether it was there before.
    pub known: bool,
    /// How much was tried.
    pub tried: Tried,
}

type Compiled = BTreeMap<String, BTreeMap<u32, Arc<EventSchema>>>;

/// The schemas that hold at one time. Whoever checks events by it holds it until the events are
/// recorded or given up: that is how a new schema knows that no other event is on its way.
#[derive(Debug)]
pub struct InForce {
    schemas: Compiled,
    /// Gone when the last holder is.
    _held: mpsc::Sender<Infallible>,
}

impl InForce {
    /// Compares an event with the schema of its type and version, if there is one.
    ///
    /// # Errors
    /// Every place that does not fit, up to a number.
    pub fn check(&self, event: &NewEvent) -> Result<(), Vec<Violation>> {
        if self.schemas.is_empty() {
            return Ok(());
        }
        let of_type = self.schemas.get(event.event_type.as_str());
        match of_type.and_then(|versions| versions.get(&event.schema_version)) {
            None => Ok(()),
            Some(schema) => schema.check(&event.content_type, &event.data),
        }
    }
}

/// What holds now, for those who check.
#[derive(Clone, Debug)]
pub struct EventRules(Arc<ArcSwap<InForce>>);

impl EventRules {
    /// What holds now, to be held until what is checked by it is recorded.
    #[must_use]
    pub fn now(&self) -> Arc<InForce> {
        self.0.load_full()
    }
}

/// The schemas of one log.
#[derive(Debug)]
pub struct EventSchemas {
    log: Log,
    limits: SchemaLimits,
    rules: EventRules,
    declared: RwLock<BTreeMap<(String, u32), Arc<Declared>>>,
    /// One at a time: it holds what tells that nobody goes by the rules before these any more.
    declaring: Mutex<mpsc::Receiver<Infallible>>,
}

fn in_force(schemas: Compiled) -> (Arc<InForce>, mpsc::Receiver<Infallible>) {
    let (held, given_up) = mpsc::channel(1);
    (Arc::new(InForce { schemas, _held: held }), given_up)
}

impl EventSchemas {
    /// The schemas that were declared in a log.
    ///
    /// # Errors
    /// A sentence, when they cannot be read.
    pub fn open(log: &Log, limits: SchemaLimits) -> Result<Self, String> {
        let (mut declared, mut schemas) = (BTreeMap::new(), Compiled::new());
        for (subject, record) in log.newest_acts(ACT).map_err(|error| error.to_string())? {
            let damaged = || format!("the record that declares the schema {subject} is damaged");
            let decision = parse(&record).map_err(|_| damaged())?;
            let (name, Kind::Act(act)) = (named(&subject), &decision.kind) else {
                return Err(damaged());
            };
            let name = name.ok_or_else(damaged)?;
            let value: Value = serde_json::from_str(act.value).map_err(|_| damaged())?;
            let schema = EventSchema::compile(&value, &SchemaLimits::TAKEN)
                .map_err(|reason| format!("the schema {subject} cannot be used: {reason}"))?;
            insert(&mut schemas, &name, schema);
            let key = (name.0.to_string(), name.1);
            let of_record = Declared {
                name,
                json: act.value.to_owned(),
                decision: decision.header.decision,
                recorded_at_ms: decision.header.recorded_at_ms,
            };
            declared.insert(key, Arc::new(of_record));
        }
        let (in_force, given_up) = in_force(schemas);
        Ok(Self {
            log: log.clone(),
            limits,
            rules: EventRules(Arc::new(ArcSwap::new(in_force))),
            declared: RwLock::new(declared),
            declaring: Mutex::new(given_up),
        })
    }

    /// What is to be checked by.
    #[must_use]
    pub fn rules(&self) -> EventRules {
        self.rules.clone()
    }

    /// A schema.
    #[must_use]
    pub fn get(&self, event_type: &EventType, version: u32) -> Option<Arc<Declared>> {
        self.declared.read().get(&(event_type.to_string(), version)).cloned()
    }

    /// All schemas, by type and version.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Declared>> {
        self.declared.read().values().cloned().collect()
    }

    /// Declares a schema, once every recorded event was tried. It is given up when nobody takes
    /// the reports of how far it is any more.
    ///
    /// # Errors
    /// [`DeclareError`]; then everything holds that held before.
    pub async fn declare(
        &self,
        name: SchemaName,
        json: String,
        caller: Option<String>,
        progress: mpsc::Sender<Tried>,
    ) -> Result<Declaration, DeclareError> {
        let mut given_up = self.declaring.lock().await;
        let value: Value =
            serde_json::from_str(&json).map_err(|e| DeclareError::Invalid(e.to_string()))?;
        if let Some(known) = self.get(&name.0, name.1) {
            let is_same = serde_json::from_str::<Value>(&known.json).is_ok_and(|was| was == value);
            let same = Declaration { declared: known, known: true, tried: Tried::default() };
            return if is_same { Ok(same) } else { Err(DeclareError::Exists) };
        }
        let most = self.limits.event_schemas;
        if self.declared.read().len() >= most {
            return Err(DeclareError::TooMany { most });
        }
        let schema = EventSchema::compile(&value, &self.limits);
        let schema = Arc::new(schema.map_err(DeclareError::Invalid)?);
        let before = self.rules.now().schemas.clone();
        let mut after = before.clone();
        after.entry(name.0.to_string()).or_default().insert(name.1, Arc::clone(&schema));
        let given = self.replace(after, &mut given_up).await;
        let declared = match given {
            true => self.try_and_record(&name, json, (schema, caller), progress).await,
            false => Err(DeclareError::Left),
        };
        // One that may be in the log goes on holding: a restart must find nothing that breaks it.
        let may_be_declared =
            matches!(declared, Err(DeclareError::Log(AppendError::Unknown(_))) | Ok(_));
        if !may_be_declared {
            // Nobody needs to wait: fewer schemas hold than are checked by.
            let (in_force, now) = in_force(before);
            self.rules.0.store(in_force);
            *given_up = now;
        }
        declared
    }

    /// Has other schemas hold, and waits until what was checked by those before is recorded.
    async fn replace(&self, schemas: Compiled, given_up: &mut mpsc::Receiver<Infallible>) -> bool {
        let (in_force, now) = in_force(schemas);
        drop(self.rules.0.swap(in_force));
        let mut before = std::mem::replace(given_up, now);
        before.recv().await.is_none()
    }

    async fn try_and_record(
        &self,
        name: &SchemaName,
        json: String,
        (schema, caller): (Arc<EventSchema>, Option<String>),
        progress: mpsc::Sender<Tried>,
    ) -> Result<Declaration, DeclareError> {
        let (log, of) = (self.log.clone(), name.clone());
        let tried = tasks::blocking(move || try_recorded(&log, &of, &schema, &progress)).await;
        let panicked = || ReadError::Unavailable("trying the events panicked".into());
        let tried = tried.unwrap_or_else(|| Err(DeclareError::Read(panicked())))?;
        let subject = format!("{}@{}", name.0, name.1);
        let record =
            ActRecord { act: ACT, subject: &subject, value: &json, caller: caller.as_deref() };
        let recorded = self.log.append_alone(Draft::act(&record)).await;
        let Header { decision, recorded_at_ms, .. } = recorded.map_err(DeclareError::Log)?;
        tracing::info!(schema = subject, decision, "a schema was declared");
        let declared = Declared { name: name.clone(), json, decision, recorded_at_ms };
        let declared = Arc::new(declared);
        let key = (name.0.to_string(), name.1);
        self.declared.write().insert(key, Arc::clone(&declared));
        Ok(Declaration { declared, known: false, tried })
    }
}

fn insert(schemas: &mut Compiled, (event_type, version): &SchemaName, schema: EventSchema) {
    schemas.entry(event_type.to_string()).or_default().insert(*version, Arc::new(schema));
}

/// No version contains an at sign.
fn named(subject: &str) -> Option<SchemaName> {
    let (event_type, version) = subject.rsplit_once('@')?;
    Some((EventType::parse(event_type).ok()?, version.parse().ok()?))
}

/// Tries every event of the type and version, from the first to the head.
fn try_recorded(
    log: &Log,
    (event_type, version): &SchemaName,
    schema: &EventSchema,
    progress: &mpsc::Sender<Tried>,
) -> Result<Tried, DeclareError> {
    let item = QueryItem { types: vec![event_type.clone()], ..QueryItem::default() };
    let query = Query { items: vec![item] };
    let limits = PageLimits { events: TRIED_AT_ONCE, bytes: TRIED_BYTES, scan: u64::MAX };
    let mut tried = Tried { head: log.head().position, ..Tried::default() };
    let mut broken = Vec::new();
    let mut next = Some(0);
    while let Some(after) = next {
        let before = Some(tried.head + 1);
        let span = Span { after, before, direction: Direction::Forward };
        let end = log_page(log, &query, &span, limits, |_, event| {
            if event.schema_version == *version {
                tried.events += 1;
                broken.extend(first_fault(schema, event));
            }
        });
        next = end.map_err(DeclareError::Read)?.next;
        if broken.len() >= MOST_BROKEN {
            break;
        }
        tried.position = next.unwrap_or(tried.head);
        if progress.blocking_send(tried).is_err() {
            return Err(DeclareError::Left);
        }
    }
    broken.truncate(MOST_BROKEN);
    if broken.is_empty() { Ok(tried) } else { Err(DeclareError::Broken(broken)) }
}

fn first_fault(schema: &EventSchema, event: &RecordedEvent<'_>) -> Option<(u64, Violation)> {
    let found = schema.check(event.content_type, event.data).err()?;
    Some((event.position, found.into_iter().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::decision::samples;
    use crate::storage::disk::Disk;
    use crate::storage::disk::simulated::{Call, Simulated};
    use crate::storage::log::LogLimits;
    use crate::tasks::Spawner;

    fn event(data: &str) -> NewEvent {
        NewEvent { data: data.into(), ..samples::event("Paid") }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_may_have_been_declared_holds_until_it_is_known() {
        let (simulated, dir) = (Simulated::new(), std::path::Path::new("/store"));
        let (disk, limits, spawner) =
            (Disk::simulated(&simulated), LogLimits::default(), Spawner::default());
        let opened = Log::open_on(&disk, dir, "store", limits, Clock::system(), &spawner);
        let (log, _threads) = opened.expect("opens");
        let limits = SchemaLimits { event_schemas: 1, ..SchemaLimits::default() };
        let schemas = EventSchemas::open(&log, limits).expect("reads");
        let declare_as = async |version, schemas: &EventSchemas| {
            let name = (EventType::parse("Paid").expect("valid"), version);
            let (progress, _reports) = mpsc::channel(100);
            schemas.declare(name, r#"{"type":"object"}"#.to_owned(), None, progress).await
        };
        let declare = async || declare_as(1, &schemas).await;
        let breaks = |data: &str| schemas.rules().now().check(&event(data)).is_err();
        simulated.fail("log-journal", Call::Sync, 1);
        let declared = declare().await;
        assert!(
            matches!(declared, Err(DeclareError::Log(AppendError::Unknown(_)))),
            "{declared:?}"
        );
        assert!(breaks("[]") && !breaks("{}"));
        for _ in 0..1_000 {
            match declare().await {
                Ok(_) => break,
                // The log is being mended.
                Err(error) => assert!(matches!(error, DeclareError::Log(_)), "{error:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(schemas.all().len(), 1);
        assert!(breaks("[]"));
        // There may be no other; what was declared holds within smaller limits too.
        let another = declare_as(2, &schemas).await;
        assert!(matches!(another, Err(DeclareError::TooMany { most: 1 })), "{another:?}");
        let schemas = EventSchemas::open(&log, SchemaLimits { schema_bytes: 1, ..limits });
        let schemas = schemas.expect("reads");
        assert!(schemas.rules().now().check(&event("[]")).is_err());
    }
}
