"""QGIS styles, which QGIS applies to the raster beside them."""

import xml.etree.ElementTree
from collections.abc import Sequence

from omnisat_jax.predict.folder import MapInfo

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
# Confidence in per cent -> color: dark where the map is uncertain.
_RAMP = ((0, "#440154"), (25, "#3b528b"), (50, "#21918c"), (75, "#5ec962"), (100, "#fde725"))
Element = xml.etree.ElementTree.Element


def class_style(info: MapInfo, colours: Sequence[str]) -> str:
    """The style of class.tif: name and color of each class.

    Args:
      info: the map.
      colours: "#rrggbb" of each class.
    """
    style, renderer = _style("paletted")
    palette = _add(renderer, "colorPalette")
    for value, (name, colour) in enumerate(zip(info.classes, colours, strict=True)):
        _add(palette, "paletteEntry", value=value, color=colour, alpha=255, label=name)
    return _text(style)


def confidence_style() -> str:
    """The style of confidence.tif: a ramp from 0 to 100 %."""
    style, renderer = _style("singlebandpseudocolor", classificationMin=0, classificationMax=100)
    shader = _add(_add(renderer, "rastershader"), "colorrampshader", colorRampType="INTERPOLATED", classificationMode=1, clip=0, minimumValue=0, maximumValue=100)
    for value, colour in _RAMP:
        _add(shader, "item", value=value, color=colour, alpha=255, label=f"{value} %")
    return _text(style)


def _style(kind: str, **options) -> tuple[Element, Element]:
    """A style and the renderer in it."""
    style = Element("qgis", version="3.22.0", styleCategories="Symbology")
    pipe = _add(style, "pipe")
    renderer = _add(pipe, "rasterrenderer", type=kind, band=1, alphaBand=-1, opacity=1, nodataColor="", **options)
    _add(renderer, "rasterTransparency")
    _add(pipe, "brightnesscontrast", brightness=0, gamma=1)
    _add(pipe, "huesaturation", saturation=0, grayscaleMode=0)
    _add(pipe, "rasterresampler", maxOversampling=2)
    return style, renderer


def _add(parent: Element, name: str, **attributes) -> Element:
    return xml.etree.ElementTree.SubElement(parent, name, {key: str(value) for key, value in attributes.items()})


def _text(style: Element) -> str:
    xml.etree.ElementTree.indent(style, " ")
    return _DOCTYPE + xml.etree.ElementTree.tostring(style, encoding="unicode") + "\n"
