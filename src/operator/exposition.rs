//! The metrics as Prometheus reads them (its naming conventions; OpenMetrics, and the text format before it).
//!
//! [`families`] names each metric once, with its unit in the name and what it means; how they are written is
//! prometheus-client's.

mod families;
mod process;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::desk::Desk;
use phzd::metrics::Times;
use phzd::observation::Observation;

/// How the metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What a client wants that accepts this.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics of the daemon, as they are now.
///
/// # Errors
/// None that could happen: a text takes what is written to it.
pub fn write(desk: &Arc<Desk>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Moment { observation: desk.resolver.observe(), desk: Arc::clone(desk) }));
    let mut out = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
        Format::Text => {
            text::encode_registry(&mut out, &registry)?;
            out = counters_renamed(&out);
        }
    }
    Ok(out)
}

/// In OpenMetrics a counter's samples have `_total` behind its name, in the older format the name has it itself.
fn counters_renamed(text: &str) -> String {
    let described = |line: &str| line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(str::to_owned);
    let counters: std::collections::HashSet<String> = text.lines().filter_map(described).collect();
    let mut out = String::with_capacity(text.len() + 8 * counters.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                out.push_str(&format!("# {what} {name}_total {rest}\n"));
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// The daemon at one moment.
#[derive(Debug)]
struct Moment {
    observation: Observation,
    desk: Arc<Desk>,
}

impl Collector for Moment {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        families::queries(&mut page, &self.observation)?;
        families::forwarding(&mut page, &self.observation)?;
        families::resolvers(&mut page, &self.observation)?;
        families::endpoints(&mut page, &self.observation)?;
        families::doors(&mut page, &self.observation, &self.desk)?;
        families::daemon(&mut page, &self.observation, &self.desk)?;
        process::write(&mut page, &self.desk)
    }
}

/// Names and values of a sample's labels.
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

/// Where families are written, one after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// A counter of one sample; `_total` is added to its name.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, |family| family.sample(&[], value))
    }

    /// A counter that is no whole number.
    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        encoder.encode_counter::<NoLabelSet, f64, u64>(&value, None)
    }

    /// A counter of many samples.
    fn counters(&mut self, name: &str, help: &str, each: impl Fn(&mut Family<'_>) -> fmt::Result) -> fmt::Result {
        each(&mut Family(self.0.encode_descriptor(name, help, None, MetricType::Counter)?, MetricType::Counter))
    }

    /// A gauge of one sample.
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, |family| family.measure(&[], value))
    }

    /// A gauge of many samples.
    fn gauges(&mut self, name: &str, help: &str, each: impl Fn(&mut Family<'_>) -> fmt::Result) -> fmt::Result {
        each(&mut Family(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?, MetricType::Gauge))
    }

    /// A histogram of many samples.
    fn histograms(&mut self, name: &str, help: &str, each: impl Fn(&mut Family<'_>) -> fmt::Result) -> fmt::Result {
        each(&mut Family(self.0.encode_descriptor(name, help, None, MetricType::Histogram)?, MetricType::Histogram))
    }
}

/// Where the samples of one family are written.
struct Family<'a>(MetricEncoder<'a>, MetricType);

impl Family<'_> {
    /// A whole number.
    fn sample(&mut self, labels: &[(&str, &str)], value: u64) -> fmt::Result {
        let labels = Labels(labels);
        let mut encoder = self.0.encode_family(&labels)?;
        match self.1 {
            MetricType::Counter => encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None),
            _ => encoder.encode_gauge(&(value as f64)),
        }
    }

    /// Any number.
    fn measure(&mut self, labels: &[(&str, &str)], value: f64) -> fmt::Result {
        self.0.encode_family(&Labels(labels))?.encode_gauge(&value)
    }

    /// Times.
    fn times(&mut self, labels: &[(&str, &str)], times: &Times) -> fmt::Result {
        let buckets: Vec<(f64, u64)> = times.buckets().collect();
        let labels = Labels(labels);
        let mut encoder = self.0.encode_family(&labels)?;
        encoder.encode_histogram::<NoLabelSet>(times.seconds(), times.count(), &buckets, None)
    }
}
