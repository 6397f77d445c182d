//! Draws a timeline as SVG, with `plotters`.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::lanes::{Bar, Kind, Lane, lanes};
use crate::timeline::{Happening, Timeline};

type Error = Box<dyn std::error::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How wide a drawing is. Text does not shrink with the page, so that there is one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Size {
    /// For a desktop.
    Wide,
    /// For a phone.
    Narrow,
}

impl Size {
    pub(in crate::report) const fn pixels(self) -> i32 {
        match self {
            Self::Wide => 960,
            Self::Narrow => 350,
        }
    }
}

const FONT: &str = "sans-serif";
/// The library writes a size that is smaller by a quarter.
const TEXT: i32 = 15;
/// Room for one letter.
const LETTER: i32 = 7;
const ROW: i32 = 16;
const CAPTION: i32 = 16;
const GAP: i32 = 7;
/// Height of the lane of recovery points.
const POINTS: i32 = CAPTION + 14;
const PLOT: i32 = 84;
const LEFT: i32 = 34;
const RIGHT: i32 = 8;

/// The SVG of a timeline.
///
/// # Errors
/// The library refused a coordinate.
pub(in crate::report) fn draw(timeline: &Timeline, size: Size) -> Result<String, Error> {
    let lanes = lanes(timeline);
    let heights = lanes.iter().map(|lane| CAPTION + ROW * lane.rows.len() as i32 + GAP);
    let points = moments(timeline, |what| matches!(what, Happening::Point { .. }));
    let points_height = if points.is_empty() { 0 } else { POINTS + GAP };
    let above = heights.sum::<i32>() + points_height;
    let plot = if timeline.rates.is_empty() { AXIS + 8 } else { CAPTION + PLOT };
    let height = above + plot;
    let mut svg = String::new();
    {
        let extent = (size.pixels() as u32, height as u32);
        let root = SVGBackend::with_string(&mut svg, extent).into_drawing_area();
        let scale = Scale { end: timeline.end().max(1), width: size.pixels() };
        let mut top = 0;
        for lane in &lanes {
            top = draw_lane(&root, &scale, lane, top)?;
        }
        if !points.is_empty() {
            draw_points(&root, &scale, &points, top)?;
        }
        draw_cuts(&root, &scale, timeline, height - AXIS)?;
        draw_rates(&root, &scale, timeline, above)?;
        root.present()?;
    }
    Ok(svg)
}

/// Height of the axis below the plot.
const AXIS: i32 = 20;

/// From moments to pixels.
struct Scale {
    end: u64,
    width: i32,
}

impl Scale {
    fn x(&self, at: u64) -> i32 {
        let room = f64::from(self.width - LEFT - RIGHT);
        LEFT + (at.min(self.end) as f64 / self.end as f64 * room).round() as i32
    }
}

fn moments(timeline: &Timeline, wanted: impl Fn(&Happening) -> bool) -> Vec<u64> {
    timeline.moments.iter().filter(|moment| wanted(&moment.what)).map(|moment| moment.at_ms).collect()
}

fn text(colour: &RGBColor) -> TextStyle<'_> {
    TextStyle::from((FONT, TEXT).into_font()).color(colour).pos(Pos::new(HPos::Left, VPos::Center))
}

fn caption(root: &Area<'_>, words: &str, top: i32) -> Result<(), Error> {
    Ok(root.draw_text(words, &text(&BLACK), (LEFT, top + CAPTION / 2))?)
}

/// Draws a lane and returns where the next one begins.
fn draw_lane(root: &Area<'_>, scale: &Scale, lane: &Lane, top: i32) -> Result<i32, Error> {
    caption(root, lane.caption, top)?;
    let mut row_top = top + CAPTION;
    for row in &lane.rows {
        for bar in row {
            draw_bar(root, scale, bar, row_top)?;
        }
        row_top += ROW;
    }
    Ok(row_top + GAP)
}

fn draw_bar(root: &Area<'_>, scale: &Scale, bar: &Bar, top: i32) -> Result<(), Error> {
    let (from, to) = (scale.x(bar.from), scale.x(bar.to));
    let to = to.max(from + 2);
    let corners = [(from, top + 1), (to - 1, top + ROW - 2)];
    root.draw(&Rectangle::new(corners, bar.kind.colour().filled()))?;
    let fits = |text: &&String| text.chars().count() as i32 * LETTER <= to - from - 4;
    if let Some(words) = bar.text.iter().find(fits).filter(|text| !text.is_empty()) {
        root.draw_text(words, &text(&WHITE), (from + 3, top + ROW / 2))?;
    }
    Ok(())
}

fn draw_points(root: &Area<'_>, scale: &Scale, points: &[u64], top: i32) -> Result<(), Error> {
    caption(root, "recovery points", top)?;
    let top = top + CAPTION;
    for point in points {
        let x = scale.x(*point);
        root.draw(&PathElement::new([(x, top), (x, top + 12)], Kind::Point.colour().stroke_width(2)))?;
    }
    Ok(())
}

/// For each edge, what lies between its cut and the loss of its source: the data that was lost.
fn draw_cuts(root: &Area<'_>, scale: &Scale, timeline: &Timeline, bottom: i32) -> Result<(), Error> {
    for moment in &timeline.moments {
        let Happening::Cut { edge, machine } = &moment.what else { continue };
        let stopped = timeline.moments.iter().find(|other| {
            matches!(&other.what, Happening::Stopped { edge: e, machine: m } if (e, m) == (edge, machine))
                && other.at_ms >= moment.at_ms
        });
        let (from, to) = (scale.x(moment.at_ms), scale.x(stopped.map_or(moment.at_ms, |stop| stop.at_ms)));
        let colour = Kind::Cut.colour();
        root.draw(&Rectangle::new([(from, CAPTION), (to.max(from + 1), bottom)], colour.mix(0.25).filled()))?;
        root.draw(&PathElement::new([(from, CAPTION), (from, bottom)], colour.stroke_width(1)))?;
    }
    Ok(())
}

/// Plots how many records were acknowledged per second, above the axis of time.
fn draw_rates(root: &Area<'_>, scale: &Scale, timeline: &Timeline, top: i32) -> Result<(), Error> {
    let with_rates = !timeline.rates.is_empty();
    if with_rates {
        caption(root, "records acknowledged per second", top)?;
    }
    let (_, below) = root.split_vertically(top + if with_rates { CAPTION } else { 0 });
    let rates = timeline.rates.iter().flat_map(|rate| &rate.points);
    let highest = rates.map(|(_, rate)| *rate).fold(1.0, f64::max);
    let seconds = scale.end as f64 / 1000.0;
    let mut chart = ChartBuilder::on(&below)
        .margin_right(RIGHT)
        .margin_top(4)
        .y_label_area_size(LEFT)
        .x_label_area_size(AXIS)
        .build_cartesian_2d(0.0..seconds, 0.0..highest * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels((scale.width / 90) as usize)
        .y_labels(if with_rates { 3 } else { 0 })
        .x_label_formatter(&|second| format!("{second:.0} s"))
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .label_style((FONT, TEXT))
        .draw()?;
    for rate in &timeline.rates {
        let points = rate.points.iter().map(|(at, rate)| (*at as f64 / 1000.0, *rate));
        let colour = Kind::Writes.colour();
        chart.draw_series(AreaSeries::new(points, 0.0, colour.mix(0.35)).border_style(colour))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Step;

    #[test]
    fn a_drawing_has_a_bar_for_each_step_and_text_only_where_there_is_room() {
        let step = |name: &str, from, to| Step {
            edge: "failover".to_owned(),
            name: name.to_owned(),
            from,
            to: Some(to),
            failed: false,
        };
        let steps = vec![step("a long step with many words", 0, 9_990), step("short", 9_990, 10_000)];
        let timeline = Timeline { steps, ..Timeline::default() };
        for size in [Size::Wide, Size::Narrow] {
            let svg = draw(&timeline, size).unwrap();
            assert!(svg.contains(&format!("width=\"{}\"", size.pixels())), "{svg}");
            assert!(svg.contains("a long step with many words") && !svg.contains("short"), "{svg}");
        }
    }
}
