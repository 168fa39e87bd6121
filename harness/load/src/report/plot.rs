//! Latency by percentile as a picture (SVG): how many of a thousand, of a hundred thousand, were slower than what.

use crate::statistics::histograms::{Histograms, Series};
use crate::statistics::outcome::Ending;
use hdrhistogram::Histogram;
use std::fmt::Write;

/// Draws `message` and `service` of accepted messages side by side; `title` stands above.
pub fn svg(histograms: &Histograms, title: &str) -> String {
    let curves: Vec<Curve<'_>> = [(Series::Message, MESSAGE_COLOUR), (Series::Service, SERVICE_COLOUR)]
        .into_iter()
        .filter_map(|(series, colour)| Some(Curve::new(series, colour, histograms.get(series, Ending::Ok)?)))
        .collect();
    let scale = Scale::around(&curves);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    text(&mut svg, WIDTH / 2.0, 24.0, "middle", title);
    scale.draw(&mut svg);
    for (index, curve) in curves.iter().enumerate() {
        curve.draw(&scale, &mut svg);
        let y = TOP + 18.0 + 20.0 * index as f64;
        line(&mut svg, (LEFT + 12.0, y - 4.0), (LEFT + 36.0, y - 4.0), curve.colour, 2.5);
        text(&mut svg, LEFT + 42.0, y, "start", curve.words);
    }
    svg + "</svg>\n"
}

struct Curve<'a> {
    histogram: &'a Histogram<u64>,
    colour: &'static str,
    words: &'static str,
}

impl<'a> Curve<'a> {
    fn new(series: Series, colour: &'static str, histogram: &'a Histogram<u64>) -> Curve<'a> {
        let words = match series {
            Series::Service => "service: from MAIL to the last reply",
            _ => "message: from the intended start to the last reply",
        };
        Curve { histogram, colour, words }
    }

    fn draw(&self, scale: &Scale, svg: &mut String) {
        let points: Vec<String> = (0..=STEPS)
            .map(|step| {
                let nines = scale.nines * f64::from(step) / f64::from(STEPS);
                let quantile = if step == STEPS { 1.0 } else { 1.0 - 10f64.powf(-nines) };
                let ns = self.histogram.value_at_quantile(quantile);
                format!("{:.1},{:.1}", scale.x(nines), scale.y(ns as f64 / NS_PER_MS))
            })
            .collect();
        let colour = self.colour;
        writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        )
        .expect(TEXT);
    }
}

/// From values to places: percentiles by their nines, milliseconds from 0 on.
struct Scale {
    nines: f64,
    ms: f64,
    /// Between two lines.
    step_ms: f64,
}

impl Scale {
    fn around(curves: &[Curve<'_>]) -> Scale {
        let most = curves.iter().map(|curve| curve.histogram.len()).max().unwrap_or(0).max(10);
        // As far as there are values: one in `most` lies beyond.
        let nines = (most as f64).log10().clamp(1.0, 6.0);
        let highest = curves.iter().map(|curve| curve.histogram.max()).max().unwrap_or(0) as f64 / NS_PER_MS;
        let rough = (highest / 6.0).max(0.001);
        let power = 10f64.powf(rough.log10().floor());
        let step_ms = [1.0, 2.0, 5.0, 10.0].into_iter().map(|it| it * power).find(|it| *it >= rough);
        let step_ms = step_ms.unwrap_or(rough);
        Scale { nines, ms: step_ms * (highest / step_ms).ceil().max(1.0), step_ms }
    }

    fn x(&self, nines: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * nines / self.nines
    }

    fn y(&self, ms: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ms / self.ms
    }

    fn draw(&self, svg: &mut String) {
        let mut ms = 0.0;
        while ms <= self.ms * 1.001 {
            let y = self.y(ms);
            line(svg, (LEFT, y), (WIDTH - RIGHT, y), "#dddddd", 1.0);
            let digits = (-self.step_ms.log10().floor()).clamp(0.0, 3.0) as usize;
            text(svg, LEFT - 8.0, y + 4.0, "end", &format!("{ms:.digits$} ms"));
            ms += self.step_ms;
        }
        for (nines, label) in [
            (0.0, "0 %"),
            (1.0, "90 %"),
            (2.0, "99 %"),
            (3.0, "99.9 %"),
            (4.0, "99.99 %"),
            (5.0, "99.999 %"),
            (6.0, "99.9999 %"),
        ] {
            if nines <= self.nines {
                let x = self.x(nines);
                line(svg, (x, TOP), (x, HEIGHT - BOTTOM), "#dddddd", 1.0);
                text(svg, x, HEIGHT - BOTTOM + 20.0, "middle", label);
            }
        }
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
    )
    .expect(TEXT);
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>").expect(TEXT);
}

const TEXT: &str = "a String accepts every write";
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 44.0;
const STEPS: u32 = 240;
const NS_PER_MS: f64 = 1e6;
/// Told apart by people who do not see red and green, too.
const MESSAGE_COLOUR: &str = "#0072b2";
const SERVICE_COLOUR: &str = "#d55e00";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn curves_stay_within_the_picture_whatever_was_measured() {
        for values in [&[][..], &[0], &[1, 2, 3], &[5_000_000_000; 3], &[1_000; 20_000]] {
            let mut histograms = Histograms::default();
            for &ns in values {
                histograms.record(Series::Message, Ending::Ok, Duration::from_nanos(ns));
            }
            let svg = svg(&histograms, "a < b & c");
            assert!(
                svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("a &lt; b &amp; c")
            );
            assert_eq!(svg.matches("<polyline").count(), usize::from(!values.is_empty()));
            for points in svg.split("points=\"").skip(1) {
                for point in points.split('"').next().expect("points").split(' ') {
                    let (x, y) = point.split_once(',').expect("a pair");
                    let (x, y): (f64, f64) = (x.parse().expect("x"), y.parse().expect("y"));
                    assert!(
                        (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP - 1.0..=HEIGHT - BOTTOM).contains(&y),
                        "{point}"
                    );
                }
            }
        }
    }
}
