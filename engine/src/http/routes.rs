//! Which path and method goes to which handler. The router's own refusals are problems too.

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{delete, get, post, put};

use super::app::{App, Shared};
use super::error::{METHOD_NOT_ALLOWED, Problem, UNKNOWN_ROUTE};
use super::{
    appends, backup, bulk, checkpoints, command, decisions, events, guest_queries, health, history,
    import, modules, parked, projections, projections_past, queries, read_models, schemas, states,
    streams, verify,
};

/// All routes.
pub(super) fn router(app: App) -> Router {
    let bench_route = app.bench_route;
    let mut router: Router<Shared> = Router::new()
        .route("/v1/aggregates/{aggregate}/{id}/commands/{command}", post(command::post))
        .route("/v1/commands", post(bulk::post))
        .route("/v1/aggregates/{aggregate}/{id}", get(states::get))
        .route("/v1/aggregates/{aggregate}/{id}/history", get(history::of_aggregate))
        .route("/v1/streams/{stream}/events", get(events::of_stream).post(appends::to_one_stream))
        .route("/v1/streams", get(streams::list))
        .route("/v1/events", get(events::of_log).post(appends::to_the_log))
        .route("/v1/events/query", post(queries::post))
        .route("/v1/events/import", post(import::post))
        .route("/v1/events/{position}", get(events::at_position))
        .route("/v1/events/{position}/proof", get(checkpoints::proof))
        .route("/v1/checkpoint", get(checkpoints::get))
        .route("/v1/checkpoint/key", get(checkpoints::key))
        .route("/v1/backup", get(backup::get).post(backup::post))
        .route("/v1/verify", post(verify::post))
        .route("/v1/decisions", get(decisions::list))
        .route("/v1/decisions/{decision}", get(events::decision))
        .route("/v1/read-models", get(read_models::list))
        .route("/v1/read-models/{name}", get(read_models::rows))
        .route("/v1/read-models/{name}/{key}", get(read_models::document))
        .route("/v1/projections", get(projections::list))
        .route("/v1/projections/{projection}", get(projections::one))
        .route("/v1/projections/{projection}/diff", get(projections::diff))
        .route("/v1/projections/{projection}/rebuild", post(projections::rebuild))
        .route("/v1/projections/{projection}/swap", post(projections::swap))
        .route("/v1/projections/{projection}/abort", post(projections::abort))
        .route("/v1/projections/{projection}/pause", post(projections::pause))
        .route("/v1/projections/{projection}/resume", post(projections::resume))
        .route("/v1/projections/{projection}/retry", post(projections::retry))
        .route("/v1/projections/{projection}/skip", post(projections::skip))
        .route("/v1/projections/{projection}/policy", put(projections::set_policy))
        .route("/v1/projections/{projection}/queries/{query}", post(guest_queries::post))
        .route("/v1/projections/{projection}/past", get(projections_past::list))
        .route("/v1/projections/{projection}/past/{position}", delete(projections_past::cancel))
        .route("/v1/parked", get(parked::list))
        .route("/v1/parked/{id}/retry", post(parked::retry))
        .route("/v1/parked/{id}/discard", post(parked::discard))
        .route("/v1/schemas", get(schemas::list))
        .route("/v1/schemas/{type}/{version}", get(schemas::one).put(schemas::declare))
        .route("/v1/modules", get(modules::list).post(modules::upload))
        .route("/v1/modules/{name}", get(modules::one))
        .route("/v1/modules/{name}/versions/{version}", get(modules::version))
        .route("/v1/modules/{name}/active", put(modules::activate))
        .route("/v1/modules/{name}/limits", put(modules::set_limits))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics));
    if bench_route {
        router = router.route("/v1/nothing", post(health::nothing));
    }
    router
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Shared::new(app))
}

async fn unknown_route(uri: Uri) -> Problem {
    Problem::new(&UNKNOWN_ROUTE, format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail =
        format!("{} does not know {method}; the header Allow names what it does", uri.path());
    Problem::new(&METHOD_NOT_ALLOWED, detail)
}
