//! Metrics for Prometheus: what the engine counts as it goes, and what is asked of it at a scrape.
//!
//! Promises: names are `factum_<noun>_<unit>[_total]` in base units; no label comes from a client.
//! The recorder must be installed before the engine is opened, or its counters count nothing.

use std::fmt::Write;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::engine::Engine;
use crate::projections::{GenerationStatus, ProjectionState};

/// How often what histograms gathered is folded, so that it does not pile up between scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper ends of durations, in seconds: from a commit on a fast disk to one that hangs.
const DURATIONS: [f64; 15] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5,
];
/// Upper ends of counts, up to the largest group.
const COUNTS: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// The recorder of this process.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Makes this process record metrics.
    ///
    /// # Errors
    /// A sentence, when it does already.
    pub fn install() -> Result<Self, String> {
        let suffix = |text: &str| Matcher::Suffix(text.to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(suffix("_seconds"), &DURATIONS)
            .and_then(|builder| builder.set_buckets_for_metric(suffix("_per_commit"), &COUNTS))
            .map_err(|error| error.to_string())?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
        metrics::describe_counter!("factum_commands_total", "Commands by what became of them");
        metrics::describe_counter!("factum_http_requests_total", "Requests by route and answer");
        metrics::describe_counter!("factum_guest_fuel_total", "Fuel of a sample of calls");
        metrics::describe_counter!(
            "factum_guest_metered_total",
            "Decisions, and events folded, in that sample"
        );
        metrics::describe_counter!(
            "factum_feed_read_events_total",
            "Events read of the log for all projections together"
        );
        metrics::describe_histogram!(
            "factum_append_duration_seconds",
            "Time to make a group of records durable"
        );
        metrics::describe_histogram!("factum_records_per_commit", "Records that one commit covers");
        Ok(Self { handle })
    }

    /// Keeps the recorder small. It never ends.
    pub(crate) async fn upkeep(&self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn render(&self, engine: &Engine) -> String {
        let mut text = self.handle.render();
        let head = engine.log().head();
        gauge(&mut text, "factum_log_position", "Position of the newest event", |series| {
            series("", &head.position);
        });
        gauge(&mut text, "factum_log_decision", "Number of the newest decision", |series| {
            series("", &head.decision);
        });
        gauge(&mut text, "factum_subscribers", "Followers of the log", |series| {
            series("", &engine.subscriptions().followers());
        });
        projections(&mut text, engine);
        modules(&mut text, engine);
        text
    }
}

/// Series are written anew at each scrape, so that one that is gone is gone here too.
fn projections(text: &mut String, engine: &Engine) {
    let projections = engine.projections().list();
    let mut of_each = |name, help, value: &dyn Fn(&GenerationStatus) -> f64| {
        gauge(text, name, help, |series| {
            for status in &projections {
                let generations =
                    [("answers", Some(&status.answering)), ("build", status.build.as_ref())];
                for (role, generation) in generations {
                    let Some(generation) = generation else { continue };
                    let (projection, module) = (&status.projection, &generation.module);
                    let of = format!("projection=\"{projection}\",module=\"{module}\"");
                    series(&format!("{of},generation=\"{role}\""), &value(generation));
                }
            }
        });
    };
    let count = |events: u64| f64::from(u32::try_from(events).unwrap_or(u32::MAX));
    of_each("factum_projection_position", "Newest position applied", &|g| count(g.position));
    of_each("factum_projection_lag_events", "Events not applied yet", &|g| count(g.lag_events));
    of_each("factum_projection_lag_seconds", "Age of the oldest one not applied", &|g| {
        Duration::from_millis(g.lag_ms).as_secs_f64()
    });
    of_each("factum_projection_events_per_second", "Events lately applied", &|g| g.rate);
    of_each("factum_projection_failed", "1 where it cannot go on", &|g| {
        f64::from(u8::from(g.state == ProjectionState::Failed))
    });
    of_each("factum_projection_stalled", "1 where it is behind and does not move", &|g| {
        f64::from(u8::from(g.is_stalled))
    });
    gauge(text, "factum_projection_parked_events", "Events parked", |series| {
        for status in &projections {
            let parked = status.settings.left_out.iter().filter(|span| span.parked).count();
            series(&format!("projection=\"{}\"", status.projection), &parked);
        }
    });
}

fn modules(text: &mut String, engine: &Engine) {
    gauge(text, "factum_module_throttled", "1 where it kept hitting its deadline", |series| {
        for module in engine.modules().list() {
            series(&format!("module=\"{}\"", module.name), &u8::from(module.throttled));
        }
    });
    gauge(text, "factum_module_active_info", "1 for each version that answers", |series| {
        for active in engine.modules().list().iter().filter_map(|module| module.active.as_ref()) {
            let digest = blake3::Hash::from_bytes(active.digest).to_hex();
            let (name, version) = (&active.manifest.name, &active.manifest.version);
            series(&format!("module=\"{name}\",version=\"{version}\",digest=\"{digest}\""), &1);
        }
    });
}

/// Writes a gauge: `write` calls its argument for each series with the labels and the value. What
/// is written there comes from names and versions, whose alphabets need no escaping.
fn gauge(
    text: &mut String,
    name: &str,
    help: &str,
    write: impl FnOnce(&mut dyn FnMut(&str, &dyn std::fmt::Display)),
) {
    // Writing to memory does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    write(&mut |labels, value| {
        let _ = match labels {
            "" => writeln!(text, "{name} {value}"),
            labels => writeln!(text, "{name}{{{labels}}} {value}"),
        };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_written_as_prometheus_reads_it() {
        let mut text = String::new();
        gauge(&mut text, "factum_x_seconds", "An x", |series| {
            series("", &1);
            series("a=\"b\"", &0.5);
        });
        assert_eq!(
            text,
            "# HELP factum_x_seconds An x\n# TYPE factum_x_seconds gauge\n\
             factum_x_seconds 1\nfactum_x_seconds{a=\"b\"} 0.5\n"
        );
    }
}
