//! The plots of `docs/regressions.md`.

use plotters::prelude::*;

use super::figures::Curve;

const WIDTH: u32 = 720;
const HEIGHT: u32 = 360;
const FONT: &str = "sans-serif";
const TEXT: i32 = 15;
const COLOURS: [RGBColor; 7] = [
    RGBColor(47, 126, 216),
    RGBColor(201, 70, 59),
    RGBColor(15, 140, 80),
    RGBColor(150, 90, 180),
    RGBColor(200, 130, 20),
    RGBColor(90, 90, 90),
    RGBColor(30, 160, 170),
];

/// The share of series in which a change is found, over the runs since. It has a background of its
/// own, because a page may be dark.
pub(super) fn curves(title: &str, curves: &[Curve]) -> anyhow::Result<String> {
    draw(title, curves).map_err(|error| anyhow::anyhow!("the plot of {title}: {error}"))
}

fn draw(title: &str, curves: &[Curve]) -> Result<String, Box<dyn std::error::Error>> {
    let runs = curves.iter().map(|curve| curve.found.len()).max().unwrap_or(1);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .caption(title, (FONT, TEXT + 3))
            .y_label_area_size(52)
            .x_label_area_size(42)
            .build_cartesian_2d(1.0..runs as f64, 0.0..1.0)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("runs since the change")
            .y_label_formatter(&|share| format!("{:.0} %", share * 100.0))
            .x_label_formatter(&|run| format!("{run:.0}"))
            .label_style((FONT, TEXT))
            .draw()?;
        for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
            let points = curve.found.iter().enumerate().map(|(index, share)| ((index + 1) as f64, *share));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(curve.name.clone())
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font((FONT, TEXT))
            .position(SeriesLabelPosition::LowerRight)
            .draw()?;
        root.present()?;
    }
    Ok(svg)
}
