//! Modules: upload, list, activation.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};

use crate::commands::FuelFigure;
use crate::manifest::Manifest;
use crate::modules::{CheckReport, ModuleLimits, ModuleStatus, ModuleVersion, Upload};
use crate::tasks;

use super::answer::{Answer, json};
use super::app::{App, Shared};
use super::body::{MostBytes, WASM, expect_type, read, read_json};
use super::error::{
    CREATED, Fault, INVALID_BODY, More, Problem, SHUTTING_DOWN, UNKNOWN_MODULE, UNKNOWN_VERSION,
};
use super::params::Params;
use super::segments::Segments;
use super::views::{Hex, Time};

#[derive(Serialize)]
struct ModulesBody<'a> {
    modules: Vec<ModuleView<'a>>,
}

#[derive(Serialize)]
struct ModuleView<'a> {
    name: &'a str,
    active: Option<VersionView<'a>>,
    fresh_instances: bool,
    throttled: bool,
    quarantined: Option<&'a str>,
    /// Of a sample of calls.
    fuel: FuelView<'a>,
    limits: &'a ModuleLimits,
    versions: Vec<VersionView<'a>>,
}

/// What commands cost to decide and events to fold.
#[derive(Serialize)]
struct FuelView<'a> {
    commands: BTreeMap<&'a str, FuelFigureView>,
    events: BTreeMap<&'a str, FuelFigureView>,
}

#[derive(Serialize)]
struct FuelFigureView {
    count: u64,
    mean: u64,
}

#[derive(Serialize)]
struct VersionView<'a> {
    version: &'a str,
    digest: Hex<'a>,
    size_bytes: u64,
    uploaded_at: Time,
}

/// A version with everything that is known of it.
#[derive(Serialize)]
struct WholeVersion<'a> {
    name: &'a str,
    version: &'a str,
    digest: Hex<'a>,
    size_bytes: u64,
    uploaded_at: Time,
    active: bool,
    /// What it takes part in: aggregates with their commands, and read models.
    exports: Exports<'a>,
    manifest: &'a Manifest,
}

#[derive(Serialize)]
struct Exports<'a> {
    aggregates: BTreeMap<&'a str, Vec<&'a str>>,
    projections: Vec<&'a str>,
    read_models: Vec<&'a str>,
}

#[derive(Serialize)]
struct ActivationBody<'a> {
    name: &'a str,
    version: Option<&'a str>,
    digest: Option<Hex<'a>>,
    /// The record of it; null where nothing changed.
    decision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<ChecksView<'a>>,
}

/// What was looked at before the version became active.
#[derive(Serialize)]
struct ChecksView<'a> {
    /// Sample calls that agreed.
    calls: usize,
    /// Recorded streams that were folded, and the events in them.
    streams: usize,
    events: usize,
    /// Of those, the streams whose states were compared with the version before.
    compared: usize,
    /// Projections whose documents were compared with the version before.
    projections: usize,
    /// Recorded streams that the version cannot fold.
    not_folding: Vec<NotFoldingView<'a>>,
}

#[derive(Serialize)]
struct NotFoldingView<'a> {
    stream: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct LimitsBody<'a> {
    name: &'a str,
    decision: u64,
    limits: &'a ModuleLimits,
}

/// Which version shall answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    // A field that is missing is a fault, and null is not: it deactivates.
    #[serde(deserialize_with = "Option::deserialize")]
    version: Option<String>,
}

/// `POST /v1/modules`.
pub(super) async fn upload(State(app): State<Shared>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    let most = MostBytes(app.limits.component_bytes, "component_bytes");
    let stopping = |_| Problem::new(&SHUTTING_DOWN, "the server is shutting down");
    let _permit = app.uploads.acquire().await.map_err(stopping)?;
    let bytes = read(&parts.headers, body, most, app.limits.body_timeout).await?;
    // Not before it was read: a client that is still sending would not see the answer.
    expect_type(&parts.headers, WASM)?;
    let engine = std::sync::Arc::clone(&app.engine);
    let upload = tasks::blocking(move || engine.modules().upload(&bytes)).await;
    let upload = upload.ok_or_else(|| Problem::internal("an upload panicked"))??;
    match upload {
        Upload::New(version) => {
            let mut response = json(&whole(&version, &app))?;
            *response.status_mut() = CREATED;
            Ok(response)
        }
        Upload::Known(version) => json(&whole(&version, &app)),
    }
}

/// `GET /v1/modules`.
pub(super) async fn list(State(app): State<Shared>, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    let modules = app.engine.modules().list();
    json(&ModulesBody { modules: modules.iter().map(view).collect() })
}

/// `GET /v1/modules/{name}`.
pub(super) async fn one(State(app): State<Shared>, segments: Segments, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    json(&view(&find(&app, &segments)?))
}

/// `GET /v1/modules/{name}/versions/{version}`.
pub(super) async fn version(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    let module = find(&app, &segments)?;
    let wanted = segments.text("version");
    let found = module.versions.iter().find(|version| version.manifest.version == wanted);
    match found {
        Some(version) => json(&whole(version, &app)),
        None => {
            let detail = format!("module {} has no version {wanted:?}", module.name);
            Err(Problem::new(&UNKNOWN_VERSION, detail))
        }
    }
}

/// `PUT /v1/modules/{name}/active`.
pub(super) async fn activate(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    let name = segments.name("name")?;
    let text = read_json(&parts.headers, body, &app.limits).await?;
    let wanted: Wanted = serde_json::from_str(&text).map_err(|error| {
        let fault = Fault::at("/version", error.to_string());
        let detail = "the body must be {\"version\": …}: a version, or null to deactivate";
        Problem::new(&INVALID_BODY, detail).with(More { errors: vec![fault], ..More::default() })
    })?;
    let modules = std::sync::Arc::clone(app.engine.modules());
    let named = name.clone();
    // Once it is recorded it must also happen, whether or not the client still listens.
    let activation = tasks::to_the_end(async move {
        modules.activate(&named, wanted.version.as_deref(), None).await
    });
    let activation =
        activation.await.ok_or_else(|| Problem::internal("an activation panicked"))??;
    let active = activation.active.as_deref();
    json(&ActivationBody {
        name: name.as_str(),
        version: active.map(|version| version.manifest.version.as_str()),
        digest: active.map(|version| Hex(&version.digest)),
        decision: activation.decision,
        checks: activation.checks.as_ref().map(checks_view),
    })
}

/// `PUT /v1/modules/{name}/limits`.
pub(super) async fn set_limits(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    let name = segments.name("name")?;
    let text = read_json(&parts.headers, body, &app.limits).await?;
    let (modules, named) = (std::sync::Arc::clone(app.engine.modules()), name.clone());
    let set = tasks::to_the_end(async move { modules.set_limits(&named, &text, None).await });
    let decision = set.await.ok_or_else(|| Problem::internal("setting limits panicked"))??;
    let limits = find(&app, &segments)?.limits;
    json(&LimitsBody { name: name.as_str(), decision, limits: &limits })
}

fn find(app: &App, segments: &Segments) -> Result<ModuleStatus, Problem> {
    let name = segments.name("name")?;
    let mut modules = app.engine.modules().list().into_iter();
    modules
        .find(|module| module.name == name.as_str())
        .ok_or_else(|| Problem::new(&UNKNOWN_MODULE, format!("no module {name} was uploaded")))
}

fn view(module: &ModuleStatus) -> ModuleView<'_> {
    ModuleView {
        name: &module.name,
        active: module.active.as_deref().map(version_view),
        fresh_instances: module.fresh_instances,
        throttled: module.throttled,
        quarantined: module.quarantined.as_deref(),
        fuel: FuelView {
            commands: fuel_view(&module.fuel.commands),
            events: fuel_view(&module.fuel.events),
        },
        limits: &module.limits,
        versions: module.versions.iter().map(|version| version_view(version)).collect(),
    }
}

fn fuel_view(figures: &BTreeMap<String, FuelFigure>) -> BTreeMap<&str, FuelFigureView> {
    let view = |figure: &FuelFigure| FuelFigureView {
        count: figure.count,
        mean: figure.total / figure.count.max(1),
    };
    figures.iter().map(|(name, figure)| (name.as_str(), view(figure))).collect()
}

fn checks_view(report: &CheckReport) -> ChecksView<'_> {
    let not_folding = report
        .not_folding
        .iter()
        .map(|found| NotFoldingView { stream: &found.stream, reason: &found.reason });
    ChecksView {
        calls: report.calls,
        streams: report.streams,
        events: report.events,
        compared: report.compared,
        projections: report.projections,
        not_folding: not_folding.collect(),
    }
}

fn version_view(version: &ModuleVersion) -> VersionView<'_> {
    VersionView {
        version: &version.manifest.version,
        digest: Hex(&version.digest),
        size_bytes: version.size_bytes,
        uploaded_at: Time(version.uploaded_at_ms),
    }
}

fn whole<'a>(version: &'a ModuleVersion, app: &App) -> WholeVersion<'a> {
    let manifest = &version.manifest;
    let modules = app.engine.modules().list();
    let active = modules.iter().filter_map(|module| module.active.as_ref());
    let aggregates = manifest.aggregates.iter().map(|aggregate| {
        let commands = aggregate.commands.iter().map(|command| command.name.as_str());
        (aggregate.name.as_str(), commands.collect())
    });
    WholeVersion {
        name: &manifest.name,
        version: &manifest.version,
        digest: Hex(&version.digest),
        size_bytes: version.size_bytes,
        uploaded_at: Time(version.uploaded_at_ms),
        active: active.into_iter().any(|active| active.digest == version.digest),
        exports: Exports {
            aggregates: aggregates.collect(),
            projections: manifest.projections.iter().map(|p| p.name.as_str()).collect(),
            read_models: manifest.collections().collect(),
        },
        manifest,
    }
}
