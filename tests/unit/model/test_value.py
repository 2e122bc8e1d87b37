import attrs

from stem_core.model._value import value


class TestRepr:
    def test_is_that_of_attrs(self):
        def shape(decorate):
            @decorate
            class Parcel:
                id: str
                secret: str = attrs.field(default="s3cr3t", repr=lambda _: "***")
                raw: bytes = attrs.field(default=b"", repr=False)

            @decorate
            class Registered(Parcel):
                number: int = 1

            return [repr(Parcel(id="a")), repr(Registered(id="b", number=2))]

        assert shape(value) == shape(attrs.define(kw_only=True))
        assert shape(value) == ["Parcel(id='a', secret=***)", "Registered(id='b', secret=***, number=2)"]

    def test_is_that_of_the_class_where_it_has_one(self):
        @value
        class Own:
            id: str

            def __repr__(self):
                return f"<{self.id}>"

        assert repr(Own(id="a")) == "<a>"
