"""Run by Tryton's own Python: makes its database, and in it a company that sells the demo's medicines to pharmacies.

create URL DATABASE
fill URL CONFIG '{"products": [...], "pharmacies": [...], "price_lists": {NAME: [[QUANTITY, FORMULA], ...]},
  "warehouses": [...]}'
"""

import json
import sys
from decimal import Decimal

PRICE = Decimal("3.20")
AT_ONCE = 100


def create(url: str, database: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{database}"')


def fill(url: str, configuration: str, world: str) -> None:
    from proteus import Model, config

    config.set_trytond(url, user="admin", config_file=configuration)
    from trytond.modules.account.tests.tools import create_chart, create_fiscalyear, get_accounts
    from trytond.modules.account_invoice.tests.tools import set_fiscalyear_invoice_sequences
    from trytond.modules.company.tests.tools import create_company, get_company

    create_company()
    company = get_company()
    create_chart(company)
    set_fiscalyear_invoice_sequences(create_fiscalyear(company)).click("create_period")
    accounts = get_accounts()
    category = Model.get("product.category")(name="Medicines", accounting=True)
    category.account_expense, category.account_revenue = accounts["expense"], accounts["revenue"]
    category.save()
    told = json.loads(world)
    (unit,) = Model.get("product.uom").find([("name", "=", "Unit")])
    medicine = {"default_uom": unit.id, "sale_uom": unit.id, "type": "goods", "salable": True, "list_price": PRICE}
    medicine["account_category"] = category.id
    make(
        "product.template",
        [
            {**medicine, "name": f"Medicine {code}", "products": [["create", [{"suffix_code": code}]]]}
            for code in told["products"]
        ],
    )
    street = [["create", [{"street": "1, place de la Mairie"}]]]
    make(
        "party.party",
        [{"name": f"Pharmacie {code}", "code": code, "addresses": street} for code in told["pharmacies"]],
    )
    for name, formulas in told["price_lists"].items():
        lines = [{"quantity": quantity, "formula": formula} for quantity, formula in formulas]
        made = {"name": name, "company": company.id, "price": "list_price", "unit": "product_default"}
        make("product.price_list", [{**made, "lines": [["create", lines]]}])
    for code in told["warehouses"]:
        add_warehouse(code)


def make(model: str, values: "list[dict[str, object]]") -> None:
    """Many in one call: as many as Tryton's cache of a transaction holds with all that belongs to them."""
    from proteus import Model, config

    for start in range(0, len(values), AT_ONCE):
        Model.get(model)._proxy.create(values[start : start + AT_ONCE], config.get_config().context)


def add_warehouse(code: str) -> None:
    """With the three places that one has; closed, for with two that are open Tryton has no default. A test opens it."""
    from proteus import Model, config

    location, context = Model.get("stock.location")._proxy, config.get_config().context
    places = {"input_location": "storage", "output_location": "storage", "storage_location": "storage"}
    made = [{"name": f"{code} {place}", "type": kind} for place, kind in places.items()]
    ids = dict(zip(places, location.create(made, context), strict=True))
    whole = {"name": f"Warehouse {code}", "code": code, "type": "warehouse", **ids}
    location.write(location.create([whole], context), {"active": False}, context)


if __name__ == "__main__":
    {"create": create, "fill": fill}[sys.argv[1]](*sys.argv[2:])
