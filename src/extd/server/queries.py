"""The query parameters of each address: the options of the commands, under their names."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from extd.blur import CHECK_THRESHOLD, BlurOptions
from extd.detector import Options
from extd.media.anonymize import AnonymizeOptions, Region, Shape

NUMBERS = r"-?\d+(\.\d*)?(,-?\d+(\.\d*)?)*"


def _parse_numbers(name: str, text: str, example: str) -> tuple[Any, ...]:
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        raise ValueError(f"{name} is {text!r:.60}; give numbers like {example}") from None
    return tuple(int(one) if one.is_integer() else one for one in numbers)


def _region(text: str) -> Region:
    numbers = _parse_numbers("keep", text, "10,20,110,160")
    if len(numbers) != 4:
        raise ValueError(f"keep is {text!r:.60}; give x1,y1,x2,y2 in pixels")
    return numbers


def _flag(value: object) -> object:
    return {"true": True, "false": False}.get(str(value), value)


Flag = Annotated[StrictBool, BeforeValidator(_flag)]
MinFace = Annotated[float, Field(description="Leave out smaller faces, by their longer side, px.")]
MaxFaces = Annotated[int | None, Field(description="At most this many faces an image, the best.")]


class Query(BaseModel):
    """The search that all addresses share.

    Raises:
        ValueError: a value is out of range, with the message that the library has for it.
    """

    # Other names are refused, lest a misspelled option goes unnoticed.
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.replace("_", "-")
    )

    # Below, nearly every place in an image is a face, which would keep a worker busy for minutes.
    threshold: float | None = Field(None, ge=0.01, description="Least score of a face, from 0.01.")
    longest: int | None = Field(None, description="Resize images to this longer side first, px.")
    scales: str = Field(
        "auto",
        description="Detect at these sizes of the image, as in 0.5,1,2; or auto.",
        json_schema_extra={"pattern": f"^(auto|{NUMBERS})$"},
    )
    flip: Flag = Field(False, description="Detect in the mirrored image, too.")
    rotations: str = Field(
        "0",
        description="Detect in the image turned by these degrees, as in 0,90,180,270.",
        json_schema_extra={"pattern": f"^{NUMBERS}$"},
    )
    # Smaller ones take very long, larger ones much memory.
    tile: int | None = Field(
        None, ge=256, le=4096, description="Detect in tiles of 256 to 4096 px."
    )
    overlap: float = Field(0.25, description="How far tiles overlap, as a share of their side.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.search()
        return self

    def search(self) -> Options:
        """The options of the detector."""
        scales = self.scales
        return Options(
            threshold=self.threshold,
            min_face=getattr(self, "min_face", 0),
            max_faces=getattr(self, "max_faces", None),
            longest=self.longest,
            scales="auto" if scales == "auto" else _parse_numbers("scales", scales, "0.5,1,2"),
            flip=self.flip,
            rotations=_parse_numbers("rotations", self.rotations, "0,90"),
            tile=self.tile,
            overlap=self.overlap,
        )


class DetectQuery(Query):
    """Options of `extd detect`."""

    min_face: MinFace = 0
    max_faces: MaxFaces = None
    track: Flag = Field(False, description="Give each face of an animation an id.")


class BlurQuery(Query):
    """Options of `extd blur`."""

    max_faces: MaxFaces = None
    method: Literal["blur", "pixelate", "solid"] = Field(
        "blur", description="blur, pixelate (4 cells per face) or solid (black)."
    )
    shape: Shape = Field("ellipse", description="Of a cover: ellipse or box.")
    margin: float = Field(0.25, description="How far a cover extends over the box, as a share.")
    strength: float = Field(1.0, description="2 blurs twice as far, or leaves half the cells.")
    keep: list[str] = Field(
        [], description="x1,y1,x2,y2: do not cover faces whose center is in this region, px."
    )
    check: Flag = Field(True, description="Look again in the result, and cover what is found.")
    hold: int = Field(5, ge=0, description="Frames for which a face that is missed stays covered.")
    keep_metadata: Flag = Field(False, description="Keep EXIF, with place and time, and colors.")
    quality: int | None = Field(None, description="Of JPEG, AVIF and WebP, 1 to 100.")

    @model_validator(mode="after")
    def _check_covers(self) -> Self:
        self.blur()
        return self

    def blur(self) -> BlurOptions:
        """How faces are covered."""
        return BlurOptions(
            AnonymizeOptions(
                self.method,
                self.shape,
                self.margin,
                self.strength,
                keep=tuple(map(_region, self.keep)),
            ),
            gap=self.hold,
            check_threshold=CHECK_THRESHOLD if self.check else None,
            keep_metadata=self.keep_metadata,
            quality=self.quality,
        )


class CropQuery(Query):
    """Options of `extd crop`."""

    min_face: MinFace = 0
    margin: float = Field(0.2, ge=0, le=10, description="What to add on each side, as a share.")
    square: Flag = Field(False, description="Lengthen the shorter side.")
    align: int | None = Field(None, ge=1, description="Turn faces upright, in this size, as 112.")


AnyQuery = TypeVar("AnyQuery", DetectQuery, BlurQuery, CropQuery)


@lru_cache(64)
def parse_query(kind: type[AnyQuery], text: bytes) -> AnyQuery:
    """The options in the query string of a URL; most clients send the same ones every time.

    FastAPI's own way takes as long as all else that it does for a request.

    Raises:
        pydantic.ValidationError: there is no such option, or a value is wrong.
    """
    pairs = parse_qsl(text.decode("latin-1"), keep_blank_values=True)
    values: dict[str, Any] = dict(pairs)
    if "keep" in values:
        values["keep"] = [value for name, value in pairs if name == "keep"]
    return kind.model_validate(values)
