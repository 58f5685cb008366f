//! The read models' figures beside those of the raw rows.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::expected::{self, Carrier, RANKED_ARRIVALS, Route};
use super::flights::Flight;
use crate::client::{Client, ClientError};
use crate::report::{Report, grouped};

/// Routes that are shown.
const WORST: usize = 10;

/// What the read models say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    carriers: Vec<Carrier>,
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Page<T> {
    rows: Vec<Row<T>>,
}

#[derive(Deserialize)]
struct Row<T> {
    document: T,
}

impl Figures {
    /// What they must say.
    pub(crate) fn expected(flights: &[Flight]) -> Self {
        Self {
            carriers: expected::carriers(flights),
            routes: expected::worst_routes(flights, WORST),
        }
    }

    /// Asks the server, and waits until its read models have applied a position.
    pub(crate) async fn read(client: &Client, position: u64) -> Result<Self, ClientError> {
        let waiting = format!("min_position={position}&wait=30");
        let carriers = documents(client, &format!("carriers?order=carrier&{waiting}")).await?;
        let ranked = format!("where=arrivals:ge:{RANKED_ARRIVALS}");
        let order = "order=-mean_arrival_delay,origin,dest";
        let query = format!("routes?{ranked}&{order}&limit={WORST}&{waiting}");
        Ok(Self { carriers, routes: documents(client, &query).await? })
    }

    /// Prints both, row by row. The answer is the number of rows that differ.
    pub(crate) fn compare(&self, expected: &Self, report: &mut Report) -> u32 {
        self.compare_carriers(&expected.carriers, report)
            + self.compare_routes(&expected.routes, report)
    }

    fn compare_carriers(&self, expected: &[Carrier], report: &mut Report) -> u32 {
        report.heading("Delays by carrier, in minutes: the read model beside the raw rows");
        let titles = ["carrier", "flights", "cancelled", "diverted"];
        report.item(format_args!(
            "{:7}  {:>7}  {:>9}  {:>8}  {:>19}  {:>19}",
            titles[0], titles[1], titles[2], titles[3], "departures: raw", "arrivals: raw"
        ));
        let mut differences = 0;
        for (said, wanted) in pairs(&self.carriers, expected) {
            let same = said == wanted;
            differences += u32::from(!same);
            let shown = said.or(wanted).cloned().unwrap_or_default();
            report.item(format_args!(
                "{:7}  {:>7}  {:>9}  {:>8}  {:>9} {:>9}  {:>9} {:>9}  {}",
                shown.carrier,
                grouped(shown.scheduled),
                shown.cancelled,
                shown.diverted,
                cell(said, |carrier| carrier.departure_delay_minutes),
                cell(wanted, |carrier| carrier.departure_delay_minutes),
                cell(said, |carrier| carrier.arrival_delay_minutes),
                cell(wanted, |carrier| carrier.arrival_delay_minutes),
                mark(same),
            ));
        }
        differences
    }

    fn compare_routes(&self, expected: &[Route], report: &mut Report) -> u32 {
        report.heading(format_args!(
            "The {WORST} worst routes by mean arrival delay (at least {RANKED_ARRIVALS} arrivals)"
        ));
        report.item(format_args!(
            "route    {:>16}  {:>17}  {:>17}",
            "arrivals: raw", "minutes: raw", "mean: raw"
        ));
        let mut differences = 0;
        for (said, wanted) in pairs(&self.routes, expected) {
            let same = matches!((said, wanted), (Some(said), Some(wanted)) if said.agrees(wanted));
            differences += u32::from(!same);
            let name = |route: &Route| format!("{}-{}", route.origin, route.dest);
            report.item(format_args!(
                "{:7}  {:>8}{:>8}  {:>8} {:>8}  {:>8} {:>8}  {}",
                said.or(wanted).map(name).unwrap_or_default(),
                cell(said, |route| route.arrivals),
                cell(wanted, |route| route.arrivals),
                cell(said, |route| route.arrival_delay_minutes),
                cell(wanted, |route| route.arrival_delay_minutes),
                mean(said),
                mean(wanted),
                mark(same),
            ));
        }
        differences
    }
}

async fn documents<T: DeserializeOwned>(
    client: &Client,
    query: &str,
) -> Result<Vec<T>, ClientError> {
    let page: Page<T> = client.get(&format!("/v1/read-models/{query}")).await?;
    Ok(page.rows.into_iter().map(|row| row.document).collect())
}

/// Both lists side by side, to the end of the longer one.
fn pairs<'a, T>(
    said: &'a [T],
    wanted: &'a [T],
) -> impl Iterator<Item = (Option<&'a T>, Option<&'a T>)> {
    (0..said.len().max(wanted.len())).map(|at| (said.get(at), wanted.get(at)))
}

fn cell<T>(row: Option<&T>, figure: fn(&T) -> i64) -> String {
    row.map_or_else(|| "-".to_owned(), |row| grouped(figure(row)))
}

fn mean(route: Option<&Route>) -> String {
    route.map_or_else(|| "-".to_owned(), |route| format!("{:.2}", route.mean_arrival_delay))
}

fn mark(same: bool) -> &'static str {
    if same { "ok" } else { "DIFFERENT" }
}

#[cfg(test)]
mod tests {
    use super::super::flights::tests::week;
    use super::*;

    #[test]
    fn equal_figures_have_no_differences() {
        let expected = Figures::expected(&week());
        let mut report = Report::new(std::io::sink());
        assert_eq!(expected.compare(&expected, &mut report), 0);
    }

    #[test]
    fn each_row_that_differs_or_lacks_counts() {
        let expected = Figures::expected(&week());
        let mut said = expected.clone();
        said.carriers[0].diverted += 1;
        said.routes.pop();
        let mut report = Report::new(std::io::sink());
        assert_eq!(said.compare(&expected, &mut report), 2);
    }
}
