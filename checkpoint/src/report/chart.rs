//! Draws progress: a panel for each quantity, a colour for each run.

use std::fmt::Display;
use std::fs::File;
use std::io::BufWriter;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::progress::{Panel, Progress, Series};
use crate::CheckpointError;

/// Width and height in pixels.
const SIZE: (u32, u32) = (1100, 900);

/// Width of the column with the names of the runs.
const LEGEND: i32 = 250;

/// Colours that are told apart by people who do not see red or green, too.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
    RGBColor(128, 128, 128),
];

/// How a chart is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChartFormat {
    /// Pixels.
    Png,
    /// Lines and text.
    Svg,
}

impl ChartFormat {
    /// What the end of a file's name asks for; refuses others than `.png` and `.svg`.
    pub fn of(file: &Path) -> Result<Self, CheckpointError> {
        let extension = file.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("png") => Ok(Self::Png),
            Some("svg") => Ok(Self::Svg),
            _ => {
                let reason = "is no name for a chart: it ends in neither .png nor .svg";
                Err(CheckpointError::invalid(file, reason))
            }
        }
    }
}

impl Panel {
    fn caption(self) -> &'static str {
        match self {
            Self::Reward => "Reward: generator (line), discriminator (dashed)",
            Self::PassAt1 => "Validation pass@1",
            Self::KillRate => "Kill rate: of a step's attacks (line), on the frozen bank (dashed)",
        }
    }
}

impl Progress {
    /// Draws the chart to a `.png` or `.svg` file, replacing one that is there.
    pub fn draw(&self, file: &Path) -> Result<(), CheckpointError> {
        let (width, height) = SIZE;
        let failed = |error: &dyn Display| {
            CheckpointError::invalid(file, format!("cannot be drawn: {error}"))
        };
        match ChartFormat::of(file)? {
            ChartFormat::Svg => {
                let text = self.svg().map_err(|e| failed(&e))?;
                std::fs::write(file, text).map_err(CheckpointError::io("write", file))
            }
            ChartFormat::Png => {
                let mut pixels = vec![0; (width * height * 3) as usize];
                let area = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
                self.draw_on(&area).map_err(|e| failed(&e))?;
                drop(area);
                let out = File::create(file).map_err(CheckpointError::io("create", file))?;
                let mut encoder = png::Encoder::new(BufWriter::new(out), width, height);
                encoder.set_color(png::ColorType::Rgb);
                let mut writer = encoder.write_header().map_err(|e| failed(&e))?;
                writer.write_image_data(&pixels).map_err(|e| failed(&e))?;
                writer.finish().map_err(|e| failed(&e))
            }
        }
    }

    /// The chart as the text of an SVG.
    ///
    /// # Errors
    ///
    /// What the drawing library could not do, in words.
    pub fn svg(&self) -> Result<String, String> {
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        self.draw_on(&area).map_err(|error| error.to_string())?;
        drop(area);
        Ok(text)
    }

    fn draw_on<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        embed_font();
        area.fill(&WHITE)?;
        let (charts, legend) = area.split_horizontally(SIZE.0 as i32 - LEGEND);
        for (panel, part) in Panel::ALL.into_iter().zip(charts.split_evenly((3, 1))) {
            self.draw_panel(panel, &part)?;
        }
        for (place, run) in self.runs.iter().enumerate() {
            let y = 40 + 24 * place as i32;
            let line = Rectangle::new([(10, y + 5), (34, y + 8)], colour(place).filled());
            legend.draw(&line)?;
            let style = ("sans-serif", 15).into_font().color(&BLACK);
            legend.draw(&Text::new(run.label.clone(), (42, y), style))?;
        }
        area.present()
    }

    fn draw_panel<B: DrawingBackend>(&self, panel: Panel, area: &Area<B>) -> Drawn<B> {
        let of_panel = |series: &&Series| series.panel == panel;
        let all = self.runs.iter().flat_map(|run| &run.series);
        let points = all.filter(of_panel).flat_map(|series| &series.points);
        let values = points.map(|(_, value)| *value);
        let heights = match panel {
            Panel::Reward => padded(values),
            Panel::PassAt1 | Panel::KillRate => 0.0..1.0,
        };
        let mut chart = ChartBuilder::on(area)
            .caption(panel.caption(), ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(54)
            .build_cartesian_2d(self.steps(), heights)?;
        chart
            .configure_mesh()
            .x_desc("step")
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 13))
            .light_line_style(WHITE)
            .draw()?;
        for (place, run) in self.runs.iter().enumerate() {
            let style = colour(place).stroke_width(2);
            for (nth, series) in run.series.iter().filter(of_panel).enumerate() {
                let points = series.points.iter().copied();
                let dashed = match panel {
                    Panel::PassAt1 => false,
                    _ => {
                        series.name.starts_with("discriminator") || series.name.starts_with("bank")
                    }
                };
                if dashed {
                    chart.draw_series(DashedLineSeries::new(points, 6, 4, style))?;
                } else {
                    chart.draw_series(LineSeries::new(points, style))?;
                }
                // A run's few validations, or its only step, are no line.
                if series.points.len() <= 40 {
                    let size = if nth == 0 { 3 } else { 2 };
                    let dots = series.points.iter();
                    chart.draw_series(
                        dots.map(|point| Circle::new(*point, size, colour(place).filled())),
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The steps that any series spans: all panels share them.
    fn steps(&self) -> Range<u64> {
        let all = self.runs.iter().flat_map(|run| &run.series);
        let steps = all.flat_map(|series| &series.points).map(|(step, _)| *step);
        let first = steps.clone().min().unwrap_or(0);
        first..steps.max().unwrap_or(0).max(first + 1)
    }
}

type Area<B> = DrawingArea<B, Shift>;

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

fn colour(place: usize) -> RGBColor {
    COLOURS[place % COLOURS.len()]
}

/// The range of values with a margin above and below.
fn padded(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return 0.0..1.0;
    }
    let margin = ((high - low) * 0.05).max(0.01);
    low - margin..high + margin
}

/// A font of our own: a training machine need not have any.
fn embed_font() {
    static ONCE: OnceLock<bool> = OnceLock::new();
    ONCE.get_or_init(|| {
        register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular()).is_ok()
    });
}
